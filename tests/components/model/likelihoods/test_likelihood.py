"""What holds for every family of likelihoods."""

import numpy as np
import pytest
import tensorflow as tf

from components.model.likelihoods.known_noise import KnownNoiseFamily
from components.model.likelihoods.likelihood import Family, sum_over_event
from components.model.noise import uniform
from components.model.registry import LIKELIHOODS

FAMILIES: dict[str, Family] = {name: LIKELIHOODS[name] for name in LIKELIHOODS}
FAMILIES["known noise"] = KnownNoiseFamily(0.2)


def random_outputs(family: Family, shape: tuple[int, int, int], channels: int) -> tf.Tensor:
    """The same at each call, so that no test depends on others."""
    values = np.random.default_rng(0).normal(size=(*shape, family.num_outputs(channels)))
    return tf.constant(values, tf.float32)


def random_uniforms(family: Family, shape: tuple[int, int, int], channels: int) -> tf.Tensor:
    return uniform((*shape, family.num_uniforms(channels)), seed=1, step=tf.constant(0, tf.int64))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(2, 4, 5), (3, 1, 1)])
def test_shapes_and_types(name, channels, shape):
    family = FAMILIES[name]
    likelihood = family.distribution(tf.cast(random_outputs(family, shape, channels), tf.bfloat16))
    mean = likelihood.mean()
    x = likelihood.sample(random_uniforms(family, shape, channels))
    assert mean.shape == x.shape == (*shape, channels)
    assert (mean.numpy() >= 0).all()
    assert (mean.numpy() <= 1).all()
    if family.is_pixelwise:
        # The pixels decoded after it see them as intensities.
        assert 0 <= x.numpy().min() <= x.numpy().max() <= 1
    by_pixel = likelihood.log_prob_by_pixel(x)
    assert by_pixel.shape == shape
    assert likelihood.log_prob(x).shape == shape[:1]
    assert mean.dtype == x.dtype == by_pixel.dtype == likelihood.log_prob(x).dtype == tf.float32
    np.testing.assert_allclose(likelihood.log_prob(x), by_pixel.numpy().sum((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_says_whether_a_pixel_depends_on_its_own_outputs_alone(name):
    family = FAMILIES[name]
    shape = (2, 3, 3)
    outputs = random_outputs(family, shape, 1)
    uniforms = random_uniforms(family, shape, 1)
    x = family.distribution(outputs).sample(uniforms)
    change = np.zeros((*shape[1:], 1), np.float32)
    change[0, 0] = 1
    one, other = (
        family.distribution(each).log_prob_by_pixel(x).numpy()
        for each in (outputs, outputs + change)
    )
    changed = ~np.isclose(one, other, rtol=1e-4, atol=1e-5)
    assert changed[:, 0, 0].all()
    assert changed[:, 1:].any() != family.is_pixelwise


@pytest.mark.parametrize("name", [name for name in FAMILIES if FAMILIES[name].is_pixelwise])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_single_pixel_has_the_distribution_that_it_has_in_the_image(name, channels):
    family = FAMILIES[name]
    outputs = random_outputs(family, (2, 3, 3), channels)
    uniforms = random_uniforms(family, (2, 3, 3), channels)
    whole = family.distribution(outputs)
    one = family.distribution(outputs[:, 1:2, 2:])
    x = whole.sample(uniforms)
    # Vectorized and scalar instructions may round differently.
    np.testing.assert_allclose(one.sample(uniforms[:, 1:2, 2:]), x[:, 1:2, 2:], rtol=1e-4)
    np.testing.assert_allclose(
        one.log_prob(x[:, 1:2, 2:]), whole.log_prob_by_pixel(x)[:, 1, 2], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(one.mean(), whole.mean()[:, 1:2, 2:], rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_values_are_the_same_with_and_without_xla(name, channels):
    family = FAMILIES[name]
    shape = (2, 3, 3)
    outputs = random_outputs(family, shape, channels)
    uniforms = random_uniforms(family, shape, channels)
    x = family.distribution(outputs).sample(uniforms)

    def values(outputs: tf.Tensor, uniforms: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            likelihood = family.distribution(outputs)
            log_prob = likelihood.log_prob(x)
        gradient = tape.gradient(log_prob, outputs)
        return log_prob, gradient, likelihood.mean(), likelihood.sample(uniforms)

    compiled = tf.function(values, jit_compile=True, autograph=False)(outputs, uniforms)
    for with_xla, without in zip(compiled, values(outputs, uniforms), strict=True):
        np.testing.assert_allclose(with_xla, without, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_a_value(name):
    family = FAMILIES[name]
    assert hash(family) == hash(type(family)(**vars(family)))
    assert family == type(family)(**vars(family))
    # The data of a binarizing family have two levels.
    assert family.levels == 2 or not family.binarizes


def test_the_sum_over_the_event_keeps_the_batch():
    np.testing.assert_array_equal(sum_over_event(tf.ones((2, 3, 4, 5))), [60, 60])

"""What holds for every head."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.heads.causal import CausalHead
from components.model.heads.factorized import FactorizedHead
from components.model.heads.head import DecodedLikelihood, Head, HeadSettings
from components.model.likelihoods.bernoulli import BINARIZED
from components.model.likelihoods.likelihood import Family
from components.model.likelihoods.logistic_mixture import LOGISTIC_MIXTURE

FEATURES = 5
SEQUENTIAL = {"causal": CausalHead}
HEADS = {"factorized": FactorizedHead} | SEQUENTIAL


def make(name: str, *, channels: int = 1, outputs: int = 1, layers: int = 1, dtype="float32"):
    """A head with random weights, all of which have an effect."""
    keras.utils.set_random_seed(0)
    # The derivative of silu, unlike that of relu, is nowhere 0 over an interval.
    head = HEADS[name](HeadSettings(channels, outputs, FEATURES, layers, "silu", dtype))
    rng = np.random.default_rng(1)
    for weight in head.weights:
        weight.assign(weight + rng.normal(size=weight.shape, scale=0.2))
    return head


def random_features(head: Head, *shape: int, seed: int = 0) -> tf.Tensor:
    channels = FEATURES if head.is_sequential else head.settings.outputs
    values = np.random.default_rng(seed).normal(size=(*shape, channels))
    return tf.constant(values, head.settings.dtype.removeprefix("mixed_"))


def random_uniforms(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed=(seed, 1), minval=1e-6, maxval=1 - 1e-6)


def binary_images(height: int, width: int) -> np.ndarray:
    """All of them, in the order of the binary numbers that their pixels are."""
    pixels = np.array(list(itertools.product((0, 1), repeat=height * width)), np.float32)
    return pixels.reshape(-1, height, width, 1)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("size", [(6, 7), (1, 1), (4, 4)])
@pytest.mark.parametrize(
    ("channels", "outputs", "dtype"),
    [(1, 1, "float32"), (3, 6, "mixed_bfloat16"), (1, 2, "mixed_float16")],
)
def test_outputs_are_float32_at_every_pixel(name, size, channels, outputs, dtype):
    head = make(name, channels=channels, outputs=outputs, layers=2, dtype=dtype)
    x = random_uniforms(2, *size, channels)
    features = random_features(head, 2, *size)
    if not head.is_sequential:
        features = tf.cast(features, tf.float32)
    result = head(features, x)
    assert result.shape == (2, *size, outputs)
    assert result.dtype == tf.float32
    assert all(weight.dtype == "float32" for weight in head.weights)


@pytest.mark.parametrize(("name", "turns"), [("factorized", 1), ("causal", 42)])
def test_a_sequential_head_takes_several_turns_for_an_image(name, turns):
    head = make(name)
    assert head.turns(6, 7) == turns
    assert head.is_sequential == (turns > 1)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_inner_layers_compute_in_mixed_precision(name):
    exact, mixed = (make(name, dtype=dtype) for dtype in ("float32", "mixed_bfloat16"))
    x = random_uniforms(2, 6, 7, 1)
    one = exact(random_features(exact, 2, 6, 7), x)
    other = mixed(random_features(mixed, 2, 6, 7), x)
    np.testing.assert_allclose(one, other, atol=0.1)
    assert np.abs(one - other).max() > 0


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("layers", [1, 2])
def test_the_probabilities_of_all_binary_images_sum_to_one(name, layers):
    head = make(name, layers=layers)
    images = binary_images(2, 2)
    for seed in range(3):
        features = tf.repeat(random_features(head, 1, 2, 2, seed=seed), 16, axis=0)
        likelihood = DecodedLikelihood(head, features, BINARIZED)
        probabilities = np.exp(likelihood.log_prob(tf.constant(images)))
        assert probabilities.sum() == pytest.approx(1, rel=1e-5)
        by_pixel = likelihood.log_prob_by_pixel(tf.constant(images))
        assert by_pixel.shape == (16, 2, 2)
        np.testing.assert_allclose(np.exp(np.sum(by_pixel, axis=(1, 2))), probabilities, rtol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_samples_are_as_frequent_as_they_are_probable(name):
    head = make(name)
    draws = 20_000
    features = random_features(head, 1, 2, 2)
    likelihood = DecodedLikelihood(head, tf.repeat(features, 16, axis=0), BINARIZED)
    probabilities = np.exp(likelihood.log_prob(tf.constant(binary_images(2, 2))))
    repeated = DecodedLikelihood(head, tf.repeat(features, draws, axis=0), BINARIZED)
    samples = repeated.sample(random_uniforms(draws, 2, 2, 1)).numpy()
    numbers = samples.reshape(draws, 4).astype(int) @ [8, 4, 2, 1]
    frequencies = np.bincount(numbers, minlength=16) / draws
    standard_error = np.sqrt(probabilities * (1 - probabilities) / draws)
    assert (np.abs(frequencies - probabilities) < 5 * standard_error).all()


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("family", "channels"), [(BINARIZED, 1), (LOGISTIC_MIXTURE, 3)], ids=str)
@pytest.mark.parametrize("size", [(6, 7), (9, 3), (1, 1)])
def test_the_outputs_of_sampling_are_those_of_one_pass_over_the_sample(
    name, family: Family, channels, size
):
    head = make(name, channels=channels, outputs=family.num_outputs(channels), layers=2)
    features = random_features(head, 3, *size)
    uniforms = random_uniforms(3, *size, family.num_uniforms(channels))
    sample, means = head.sample(features, uniforms, family)
    assert sample.shape == means.shape == (3, *size, channels)
    distribution = family.distribution(head(features, sample))
    np.testing.assert_allclose(means, distribution.mean(), rtol=1e-4, atol=1e-5)
    again = distribution.sample(uniforms)
    np.testing.assert_allclose(sample, again, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_a_compiled_sample_is_the_same(name):
    head = make(name)
    features, uniforms = random_features(head, 2, 5, 4), random_uniforms(2, 5, 4, 1)
    likelihood = DecodedLikelihood(head, features, BINARIZED)
    expected = likelihood.sample(uniforms)
    function = tf.function(
        lambda f, u: DecodedLikelihood(head, f, BINARIZED).sample(u),
        input_signature=[tf.TensorSpec((None, *each.shape[1:])) for each in (features, uniforms)],
    )
    np.testing.assert_array_equal(function(features, uniforms), expected)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_the_mean_is_an_average_of_conditional_means(name):
    """Its error is that of an average of four draws, about half that of one."""
    head = make(name)
    features = random_features(head, 40, 5, 4)
    likelihood = DecodedLikelihood(head, features, BINARIZED)
    mean = likelihood.mean().numpy()
    assert mean.shape == (40, 5, 4, 1)
    assert mean.min() >= 0
    assert mean.max() <= 1
    draws = 300
    repeated = tf.repeat(features, draws, axis=0)
    uniforms = random_uniforms(40 * draws, 5, 4, 1, seed=5)
    samples, conditional = (
        tensor.numpy().reshape(40, draws, 5, 4, 1)
        for tensor in head.sample(repeated, uniforms, BINARIZED)
    )
    np.testing.assert_allclose(samples.mean(), conditional.mean(), atol=0.005)
    deviation = conditional.std(axis=1)
    assert deviation.mean() > 0.02
    error = np.sqrt(np.square(mean - conditional.mean(axis=1)).mean())
    assert error < 0.75 * np.sqrt(np.square(deviation).mean())


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_the_mean_of_an_image_depends_on_no_other_image(name):
    head = make(name)
    features = random_features(head, 4, 3, 4)

    def mean(rows: slice) -> np.ndarray:
        return DecodedLikelihood(head, features[rows], BINARIZED).mean().numpy()

    together = mean(slice(None))
    np.testing.assert_array_equal(mean(slice(None)), together)
    np.testing.assert_allclose(mean(slice(2, 3)), together[2:3], rtol=1e-4, atol=1e-5)

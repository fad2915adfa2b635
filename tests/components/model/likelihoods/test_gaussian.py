from statistics import NormalDist

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.likelihoods.gaussian import (
    GAUSSIAN,
    GAUSSIAN_PER_PIXEL,
    Gaussian,
    SharedScale,
)
from components.model.noise import uniform

RNG = np.random.default_rng(0)


def test_the_log_density_is_that_of_the_normal_distribution():
    location, log_scale, x = RNG.normal(size=(3, 2, 1, 2, 3))
    densities = [
        NormalDist(m, np.exp(s)).pdf(value)
        for m, s, value in zip(location.ravel(), log_scale.ravel(), x.ravel(), strict=True)
    ]
    expected = np.log(densities).reshape(2, -1).sum(axis=1)
    likelihood = Gaussian(tf.constant(location, tf.float32), tf.constant(log_scale, tf.float32))
    np.testing.assert_allclose(likelihood.log_prob(tf.constant(x, tf.float32)), expected, rtol=1e-5)


def test_the_outputs_are_means_and_then_log_scales():
    outputs = tf.constant([0.1, -0.2, 0.3, -1.0, 0.0, 1.0])[tf.newaxis, tf.newaxis, tf.newaxis]
    likelihood = GAUSSIAN_PER_PIXEL.distribution(outputs)
    np.testing.assert_allclose(likelihood.location.numpy().ravel(), [0.6, 0.3, 0.8], rtol=1e-6)
    low, middle, high = likelihood.log_scale.numpy().ravel()
    assert low < middle == -1 < high


@pytest.mark.parametrize("raw_log_scale", [-60.0, 0.0, 60.0])
@pytest.mark.parametrize("intensity", [0.0, 1.0])
def test_the_gradients_are_finite_at_extremes(raw_log_scale, intensity):
    outputs = tf.constant([[[[60.0, raw_log_scale]]]])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        log_prob = GAUSSIAN.distribution(outputs).log_prob(tf.fill((1, 1, 1, 1), intensity))
    assert np.isfinite(log_prob).all()
    assert np.isfinite(tape.gradient(log_prob, outputs)).all()


def test_samples_have_the_mean_and_scale_of_the_distribution():
    shape = (100_000, 1, 1, GAUSSIAN.num_uniforms(1))
    likelihood = Gaussian(tf.fill(shape, 0.4), tf.fill(shape, -3.0))
    x = likelihood.sample(uniform(shape, seed=0, step=tf.constant(0, tf.int64))).numpy()
    scale = np.exp(-3)
    assert abs(x.mean() - 0.4) < 5 * scale / np.sqrt(x.size)
    assert abs(x.std() / scale - 1) < 5 / np.sqrt(2 * x.size)
    below = NormalDist(0.4, scale).cdf(0.35)
    assert abs((x < 0.35).mean() - below) < 5 * np.sqrt(below * (1 - below) / x.size)


def test_the_mean_is_within_the_intensities():
    likelihood = Gaussian(tf.constant([[[[-0.5, 0.4, 1.5]]]]), tf.zeros((1, 1, 1, 3)))
    np.testing.assert_allclose(likelihood.mean().numpy().ravel(), [0, 0.4, 1])


def test_one_scale_is_learned_for_all_pixels():
    """At the best scale, its square is the mean square of the differences from the means."""
    layer = SharedScale()
    means = tf.zeros((4, 3, 3, 2))
    x = tf.constant(0.5 + 0.1 * RNG.normal(size=(4, 3, 3, 2)), tf.float32)
    outputs = layer(means)
    assert outputs.shape == (4, 3, 3, 4)
    assert GAUSSIAN.shares_scale
    assert not GAUSSIAN_PER_PIXEL.shares_scale
    (weight,) = layer.trainable_weights
    for _ in range(200):
        with tf.GradientTape() as tape:
            log_prob = tf.reduce_mean(GAUSSIAN.distribution(layer(means)).log_prob(x)) / 18
        weight.assign_add(0.5 * tape.gradient(log_prob, weight.value))
    log_scale = GAUSSIAN.distribution(layer(means)).log_scale.numpy()
    expected = 0.5 * np.log(np.mean((x.numpy() - 0.5) ** 2))
    np.testing.assert_allclose(log_scale, np.full((4, 3, 3, 2), expected), rtol=1e-3)


def test_a_decoder_with_a_shared_scale_is_saved_and_loaded(tmp_path):
    decoder = keras.Sequential(
        [keras.Input((2, 2, 3), dtype="bfloat16"), SharedScale(name="scale")]
    )
    assert decoder.output_shape == (None, 2, 2, 6)
    decoder.set_weights([np.float32([0.7])])
    decoder.save(tmp_path / "decoder.keras")
    loaded = keras.saving.load_model(tmp_path / "decoder.keras", safe_mode=True)
    outputs = loaded(tf.ones((1, 2, 2, 3), tf.bfloat16))
    assert outputs.dtype == tf.float32
    np.testing.assert_allclose(outputs[0, 0, 0], [1, 1, 1, 0.7, 0.7, 0.7], rtol=1e-6)

from statistics import NormalDist

import numpy as np
import pytest
import tensorflow as tf

from components.model.likelihoods.gaussian import GAUSSIAN, Gaussian
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


def test_the_outputs_are_means_and_a_share_of_the_log_scale():
    outputs = tf.constant([[[[0.1, -0.2, 3.0]], [[0.3, 0.0, -3.0]]], [[[0, 0, -4]], [[0, 0, 2]]]])
    likelihood = GAUSSIAN.distribution(tf.cast(outputs, tf.float32))
    np.testing.assert_allclose(
        likelihood.location[0].numpy().ravel(), [0.6, 0.3, 0.8, 0.5], rtol=1e-6
    )
    # The averages of the shares are 0 and -1.
    first, second = likelihood.log_scale.numpy()
    assert np.unique(first) == -1
    assert len(np.unique(second)) == 1
    assert -2.1 < second.min() < -1.9


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


@pytest.mark.parametrize("size", [0.02, 0.1, 0.9])
def test_at_the_best_scale_the_log_density_is_that_of_the_squared_error(size):
    """log p = -D / 2 (1 + log 2π MSE), and every other scale gives less."""
    means = RNG.uniform(size=(4, 4, 2))
    x = means + size * RNG.normal(size=means.shape)
    error = np.mean(np.square(x - means))

    def log_prob(scale: float) -> float:
        outputs = GAUSSIAN.outputs_of(means, scale)[np.newaxis]
        return float(GAUSSIAN.distribution(outputs).log_prob(x[np.newaxis].astype(np.float32))[0])

    best = log_prob(np.sqrt(error))
    assert best == pytest.approx(-16 * (1 + np.log(2 * np.pi * error)), rel=1e-4)
    assert max(log_prob(0.9 * np.sqrt(error)), log_prob(1.1 * np.sqrt(error))) < best

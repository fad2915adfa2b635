import numpy as np
import pytest
import tensorflow as tf

from components.model.likelihoods.continuous_bernoulli import (
    CONTINUOUS_BERNOULLI,
    ContinuousBernoulli,
)
from components.model.noise import uniform

LOGITS = [-60.0, -20.0, -2.0, -0.51, -0.49, -0.1, -1e-4, 0.0, 1e-6, 0.01, 0.49, 0.51, 3.0, 60.0]

# Points and weights of a quadrature over [0, 1] that is exact for e^(60 x) to 1e-10.
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(200)
POINTS, WEIGHTS = (POINTS + 1) / 2, WEIGHTS / 2


def pixels(values) -> tf.Tensor:
    """One image for each value, of one pixel."""
    return tf.constant(values, tf.float32)[:, tf.newaxis, tf.newaxis, tf.newaxis]


def log_normalizer(logits: np.ndarray) -> np.ndarray:
    """log ∫ e^(l x) dx in float64, by quadrature."""
    exponents = np.float32(logits).astype(np.float64)[:, np.newaxis] * POINTS
    return np.logaddexp.reduce(exponents + np.log(WEIGHTS), axis=1)


@pytest.mark.parametrize("intensity", [0.0, 0.3, 1.0])
def test_the_log_density_is_normalized_by_the_integral(intensity):
    log_prob = ContinuousBernoulli(pixels(LOGITS)).log_prob(pixels([intensity] * len(LOGITS)))
    expected = np.float64(LOGITS) * intensity - log_normalizer(np.array(LOGITS))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-6, atol=2e-6)


def test_the_log_density_is_the_bernoullis_with_the_normalizer_of_the_paper():
    # C(λ) = 2 artanh(1 - 2λ) / (1 - 2λ)
    probabilities = np.array([0.02, 0.3, 0.45, 0.8])
    logits = np.log(probabilities / (1 - probabilities))
    normalizers = 2 * np.arctanh(1 - 2 * probabilities) / (1 - 2 * probabilities)
    log_prob = ContinuousBernoulli(pixels(logits)).log_prob(pixels([0.7] * 4))
    expected = 0.7 * np.log(probabilities) + 0.3 * np.log1p(-probabilities) + np.log(normalizers)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)


def test_the_mean_is_the_integral_and_the_gradient_is_intensity_less_mean():
    logits = pixels(LOGITS)
    densities = np.exp(
        np.float32(LOGITS).astype(np.float64)[:, np.newaxis] * POINTS
        - log_normalizer(np.array(LOGITS))[:, np.newaxis]
    )
    expected = densities @ (WEIGHTS * POINTS)
    np.testing.assert_allclose(
        ContinuousBernoulli(logits).mean().numpy().ravel(), expected, rtol=1e-6, atol=3e-7
    )
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = ContinuousBernoulli(logits).log_prob(pixels([0.25] * len(LOGITS)))
    gradient = tape.gradient(log_prob, logits).numpy().ravel()
    np.testing.assert_allclose(gradient, 0.25 - expected, atol=3e-7)


@pytest.mark.parametrize("logit", [-60.0, -1.0, 0.0, 1e-3, 2.0, 60.0])
def test_the_distribution_of_samples_is_that_of_the_density(logit):
    shape = (100_000, 1, 1, CONTINUOUS_BERNOULLI.num_uniforms(1))
    uniforms = uniform(shape, seed=0, step=tf.constant(0, tf.int64))
    x = ContinuousBernoulli(tf.fill(shape, logit)).sample(uniforms).numpy().ravel()
    assert (x >= 0).all()
    assert (x <= 1).all()
    # The distribution function at the samples is what it was inverted from.
    values = np.float64(x)
    scale = logit if logit else 1e-9
    expected = np.expm1(scale * values) / np.expm1(scale)
    np.testing.assert_allclose(expected, uniforms.numpy().ravel(), atol=1e-5)

import math

import numpy as np
import pytest
import tensorflow as tf

from components.model.distributions import Bernoulli, Normal, standard_normal_like

RNG = np.random.default_rng(0)


def normal(batch: int = 4, latents: int = 3) -> Normal:
    """A normal distribution with random parameters."""
    return Normal(
        tf.constant(RNG.normal(size=(batch, latents)), tf.float32),
        tf.constant(RNG.normal(size=(batch, latents)), tf.float32),
    )


def log_density(distribution: Normal, z: np.ndarray) -> np.ndarray:
    """log N(z; m, s²) of each dimension, from its definition."""
    mean, variance = distribution.mean.numpy(), np.exp(distribution.log_variance.numpy())
    return -0.5 * ((z - mean) ** 2 / variance + np.log(2 * np.pi * variance))


def test_the_kl_divergence_of_a_distribution_from_itself_is_zero():
    p = normal()
    np.testing.assert_allclose(p.kl_by_dimension(p), np.zeros((4, 3)), atol=1e-6)


def test_the_kl_divergence_is_never_negative():
    kl = normal().kl_by_dimension(normal())
    assert kl.shape == (4, 3)
    assert (kl.numpy() >= 0).all()


def test_the_kl_divergence_from_the_prior_in_closed_form():
    # KL(N(m, s²) || N(0, 1)) = ½ (s² + m² - 1) - log s
    q = Normal(tf.constant([[2.0]]), tf.constant([[math.log(9.0)]]))
    expected = 0.5 * (9 + 4 - 1) - math.log(3)
    kl = q.kl_by_dimension(standard_normal_like(q.mean))
    np.testing.assert_allclose(kl, [[expected]], rtol=1e-6)


def test_the_kl_divergence_between_normals_in_closed_form():
    # KL(N(m, s²) || N(n, t²)) = log t/s + (s² + (m - n)²) / 2t² - ½
    q = Normal(tf.constant([[2.0, 0.0, -1.0]]), tf.math.log([[9.0, 1.0, 0.25]]))
    p = Normal(tf.constant([[0.0, 0.0, 3.0]]), tf.math.log([[1.0, 1.0, 4.0]]))
    expected = [-math.log(3) + 13 / 2 - 0.5, 0, math.log(4) + 16.25 / 8 - 0.5]
    np.testing.assert_allclose(q.kl_by_dimension(p), [expected], rtol=1e-6)


def test_the_kl_divergence_of_a_dimension_does_not_depend_on_the_others():
    q, p = normal(), normal()
    rates = q.kl_by_dimension(p)
    for dimension in range(3):
        column = slice(dimension, dimension + 1)
        q_alone, p_alone = (
            Normal(distribution.mean[:, column], distribution.log_variance[:, column])
            for distribution in (q, p)
        )
        np.testing.assert_allclose(
            rates[:, column], q_alone.kl_by_dimension(p_alone), rtol=1e-6, atol=1e-7
        )


def test_the_kl_divergence_agrees_with_a_monte_carlo_estimate():
    # KL(q || p) = E_q[log q(z) - log p(z)]
    q, p = normal(1), normal(1)
    draws = 200_000
    z = q.sample(tf.constant(RNG.normal(size=(draws, 3)), tf.float32)).numpy()
    terms = log_density(q, z) - log_density(p, z)
    standard_error = terms.std(axis=0) / math.sqrt(draws)
    kl = q.kl_by_dimension(p).numpy()[0]
    assert (np.abs(terms.mean(axis=0) - kl) < 5 * standard_error).all()


def test_samples_have_the_mean_and_variance_of_the_distribution():
    p = normal(1)
    z = p.sample(tf.constant(RNG.normal(size=(200_000, 3)), tf.float32)).numpy()
    np.testing.assert_allclose(z.mean(0), p.mean.numpy()[0], atol=0.03)
    np.testing.assert_allclose(np.log(z.var(0)), p.log_variance.numpy()[0], atol=0.03)


def test_a_sample_without_noise_is_the_mode():
    p = normal(1)
    np.testing.assert_array_equal(p.sample(tf.zeros((1, 3))), p.mode())


@pytest.mark.parametrize("intensity", [0.0, 0.2, 0.5, 1.0])
def test_the_bernoulli_log_probability_is_the_negative_cross_entropy(intensity):
    logits = tf.constant(RNG.normal(size=(2, 3, 3, 1)), tf.float32)
    x = tf.fill((2, 3, 3, 1), intensity)
    p = tf.sigmoid(logits).numpy().astype(np.float64)
    expected = (intensity * np.log(p) + (1 - intensity) * np.log1p(-p)).sum((1, 2, 3))
    np.testing.assert_allclose(Bernoulli(logits).log_prob(x), expected, rtol=1e-5)
    assert Bernoulli(logits).log_prob(x).shape == (2,)


def test_the_bernoulli_log_probability_has_the_gradients_of_its_definition():
    logits = tf.constant([[-30.0, -2.0, 0.0, 0.5, 30.0]])
    x = tf.constant([[0.0, 0.3, 1.0, 0.9, 0.5]])
    with tf.GradientTape() as tape:
        tape.watch([logits, x])
        log_prob = Bernoulli(logits).log_prob(x)
    by_logits, by_x = tape.gradient(log_prob, [logits, x])
    probabilities = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)))
    np.testing.assert_allclose(by_logits, x - probabilities, atol=1e-6)
    np.testing.assert_allclose(by_x, logits)


def test_the_bernoulli_log_probability_is_finite_at_certainty():
    certain = Bernoulli(tf.constant([100.0, -100.0])[tf.newaxis])
    np.testing.assert_allclose(certain.log_prob(tf.constant([[1.0, 0.0]])), [0.0], atol=1e-6)
    np.testing.assert_allclose(certain.log_prob(tf.constant([[0.0, 1.0]])), [-200.0])
    np.testing.assert_allclose(certain.mean(), [[1.0, 0.0]], atol=1e-6)

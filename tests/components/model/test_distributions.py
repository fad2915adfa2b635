import math

import numpy as np
import pytest
import tensorflow as tf

from components.model.distributions import Bernoulli, Normal, standard_normal_like

RNG = np.random.default_rng(0)


def normal(batch: int = 4, latents: int = 3) -> Normal:
    return Normal(
        tf.constant(RNG.normal(size=(batch, latents)), tf.float32),
        tf.constant(RNG.normal(size=(batch, latents)), tf.float32),
    )


def test_kl_to_itself_is_zero():
    p = normal()
    np.testing.assert_allclose(p.kl_divergence(p), np.zeros(4), atol=1e-6)


def test_kl_is_never_negative_and_shaped_as_the_batch():
    kl = normal().kl_divergence(normal())
    assert kl.shape == (4,)
    assert (kl.numpy() >= 0).all()


def test_kl_in_closed_form():
    # KL(N(m, s²) || N(0, 1)) = ½ (s² + m² - 1) - log s
    q = Normal(tf.constant([[2.0]]), tf.constant([[math.log(9.0)]]))
    expected = 0.5 * (9 + 4 - 1) - math.log(3)
    np.testing.assert_allclose(q.kl_divergence(standard_normal_like(q.mean)), [expected], rtol=1e-6)


def test_kl_by_dimension_is_that_of_each_dimension_alone():
    q, p = normal(), normal()
    rates = q.kl_by_dimension(p)
    assert rates.shape == (4, 3)
    for dimension in range(3):
        one = slice(dimension, dimension + 1)
        alone = [Normal(each.mean[:, one], each.log_variance[:, one]) for each in (q, p)]
        np.testing.assert_allclose(
            rates[:, dimension], alone[0].kl_divergence(alone[1]), rtol=1e-6, atol=1e-7
        )
    np.testing.assert_allclose(q.kl_divergence(p), rates.numpy().sum(axis=1), rtol=1e-6)


def test_kl_by_dimension_in_closed_form():
    # KL(N(m, s²) || N(n, t²)) = log t/s + (s² + (m - n)²) / 2t² - ½
    q = Normal(tf.constant([[2.0, 0.0, -1.0]]), tf.math.log([[9.0, 1.0, 0.25]]))
    p = Normal(tf.constant([[0.0, 0.0, 3.0]]), tf.math.log([[1.0, 1.0, 4.0]]))
    expected = [-math.log(3) + 13 / 2 - 0.5, 0, math.log(4) + 16.25 / 8 - 0.5]
    np.testing.assert_allclose(q.kl_by_dimension(p), [expected], rtol=1e-6)


def test_kl_agrees_with_a_monte_carlo_estimate():
    q, p = normal(1), normal(1)
    n = 200_000
    z = q.sample(tf.constant(RNG.normal(size=(n, 3)), tf.float32))
    terms = (q.log_prob(z) - p.log_prob(z)).numpy()
    error = terms.std() / math.sqrt(n)
    assert abs(terms.mean() - q.kl_divergence(p).numpy()[0]) < 5 * error


def test_normal_log_prob_in_closed_form():
    p = normal()
    z = tf.constant(RNG.normal(size=(4, 3)), tf.float32)
    variance = np.exp(p.log_variance)
    expected = -0.5 * ((z - p.mean) ** 2 / variance + np.log(2 * np.pi * variance)).numpy().sum(1)
    np.testing.assert_allclose(p.log_prob(z), expected, rtol=1e-5)


def test_samples_have_the_distributions_moments():
    p = normal(1)
    z = p.sample(tf.constant(RNG.normal(size=(200_000, 3)), tf.float32)).numpy()
    np.testing.assert_allclose(z.mean(0), p.mean.numpy()[0], atol=0.03)
    np.testing.assert_allclose(np.log(z.var(0)), p.log_variance.numpy()[0], atol=0.03)
    np.testing.assert_array_equal(p.sample(tf.zeros((1, 3))), p.mode())


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
def test_bernoulli_log_prob_is_the_negative_cross_entropy(probability):
    logits = tf.constant(RNG.normal(size=(2, 3, 3, 1)), tf.float32)
    x = tf.fill((2, 3, 3, 1), probability)
    p = tf.sigmoid(logits).numpy().astype(np.float64)
    expected = (probability * np.log(p) + (1 - probability) * np.log1p(-p)).sum((1, 2, 3))
    np.testing.assert_allclose(Bernoulli(logits).log_prob(x), expected, rtol=1e-5)
    assert Bernoulli(logits).log_prob(x).shape == (2,)


def test_bernoulli_is_finite_at_certainty():
    certain = Bernoulli(tf.constant([100.0, -100.0])[tf.newaxis])
    np.testing.assert_allclose(certain.log_prob(tf.constant([[1.0, 0.0]])), [0.0], atol=1e-6)
    np.testing.assert_allclose(certain.log_prob(tf.constant([[0.0, 1.0]])), [-200.0])
    np.testing.assert_allclose(certain.mean(), [[1.0, 0.0]], atol=1e-6)

import math

import numpy as np
import tensorflow as tf

from components.model.distributions import Normal, standard_normal_like

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


def test_the_log_density_of_a_normal_agrees_with_its_definition():
    p = normal()
    z = RNG.normal(size=(4, 3)).astype(np.float32)
    log_prob = p.log_prob(z)
    assert log_prob.shape == (4,)
    np.testing.assert_allclose(log_prob, log_density(p, z).sum(axis=-1), rtol=1e-5)


def test_samples_have_the_mean_and_variance_of_the_distribution():
    p = normal(1)
    z = p.sample(tf.constant(RNG.normal(size=(200_000, 3)), tf.float32)).numpy()
    np.testing.assert_allclose(z.mean(0), p.mean.numpy()[0], atol=0.03)
    np.testing.assert_allclose(np.log(z.var(0)), p.log_variance.numpy()[0], atol=0.03)


def test_a_sample_without_noise_is_the_mode():
    p = normal(1)
    np.testing.assert_array_equal(p.sample(tf.zeros((1, 3))), p.mode())


def test_a_distribution_without_gradient_has_the_same_values_and_constant_parameters():
    p = normal()
    z = tf.constant(RNG.normal(size=(4, 3)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([p.mean, p.log_variance, z])
        log_prob, constant = p.log_prob(z), p.without_gradient().log_prob(z)
    np.testing.assert_array_equal(constant, log_prob)
    assert tape.gradient(constant, [p.mean, p.log_variance]) == [None, None]
    np.testing.assert_array_equal(tape.gradient(constant, z), tape.gradient(log_prob, z))

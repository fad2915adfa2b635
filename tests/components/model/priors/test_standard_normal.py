import numpy as np
import tensorflow as tf

from components.model.distributions import Normal
from components.model.priors.standard_normal import StandardNormal

RNG = np.random.default_rng(0)


def test_the_log_density_in_closed_form():
    z = RNG.normal(size=(4, 3)).astype(np.float32)
    expected = -0.5 * (z**2).sum(axis=-1) - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(StandardNormal(3).log_prob(tf.constant(z)), expected, rtol=1e-6)


def test_a_sample_is_the_noise():
    noise = tf.constant(RNG.normal(size=(4, 3)), tf.float32)
    np.testing.assert_array_equal(StandardNormal(3).sample(noise), noise)


def test_the_divergence_from_a_posterior_in_closed_form():
    # KL(N(m, s²) || N(0, 1)) = ½ (s² + m² - 1) - log s
    posterior = Normal(tf.constant([[2.0, 0.0]]), tf.math.log([[9.0, 1.0]]))
    expected = [[0.5 * (9 + 4 - 1) - np.log(3), 0]]
    rates = StandardNormal(2).kl_by_dimension(posterior)
    np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=1e-6)


def test_it_has_no_weights():
    assert StandardNormal(3).weights == []

import numpy as np
import pytest
import tensorflow as tf

from components.model import objective
from components.model.distributions import Normal, standard_normal_like

RATES = tf.constant([[0.1, 2.0, 0.0], [0.5, 0.4, 3.0]])
DISTORTION = tf.constant([10.0, 20.0])


def test_the_loss_is_the_negative_elbo_at_beta_one():
    losses = objective.loss(RATES, DISTORTION, beta=1.0, free_bits=0.0)
    np.testing.assert_allclose(losses, [12.1, 23.9], rtol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.25, 4.0])
def test_beta_weights_the_rate(beta):
    losses = objective.loss(RATES, DISTORTION, beta=tf.constant(beta), free_bits=0.0)
    np.testing.assert_allclose(losses, [10 + beta * 2.1, 20 + beta * 3.9], rtol=1e-6)


def test_free_bits_are_a_floor_for_each_dimension_of_each_example():
    losses = objective.loss(RATES, DISTORTION, beta=2.0, free_bits=0.45)
    expected = [10 + 2 * (0.45 + 2.0 + 0.45), 20 + 2 * (0.5 + 0.45 + 3.0)]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_an_examples_loss_does_not_depend_on_other_examples():
    together = objective.loss(RATES, DISTORTION, beta=2.0, free_bits=0.45)
    separate = [
        objective.loss(RATES[i : i + 1], DISTORTION[i : i + 1], beta=2.0, free_bits=0.45)
        for i in range(2)
    ]
    np.testing.assert_array_equal(together, np.concatenate(separate))


def test_a_rate_below_the_free_bits_has_no_gradient_and_one_above_has_its_full_gradient():
    """The rate of N(m, s²) is ½ (s² + m² - 1 - log s²), and its derivative by m is m."""
    mean = tf.constant([[0.1, 0.9, 2.0, -3.0]])
    with tf.GradientTape() as tape:
        tape.watch(mean)
        posterior = Normal(mean, tf.zeros((1, 4)))
        rates = posterior.kl_by_dimension(standard_normal_like(mean))
        loss = objective.loss(rates, tf.zeros(1), beta=0.5, free_bits=1.0)
    np.testing.assert_allclose(rates, [[0.005, 0.405, 2.0, 4.5]], rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, mean), [[0.0, 0.0, 1.0, -1.5]], rtol=1e-6)

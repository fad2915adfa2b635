import numpy as np
import pytest
import tensorflow as tf

from components.model.likelihoods.bernoulli import BERNOULLI, BINARIZED, Bernoulli
from components.model.noise import uniform

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("intensity", [0.0, 0.2, 0.5, 1.0])
def test_the_log_probability_is_the_negative_cross_entropy(intensity):
    logits = tf.constant(RNG.normal(size=(2, 3, 3, 1)), tf.float32)
    x = tf.fill((2, 3, 3, 1), intensity)
    p = tf.sigmoid(logits).numpy().astype(np.float64)
    expected = (intensity * np.log(p) + (1 - intensity) * np.log1p(-p)).sum((1, 2, 3))
    np.testing.assert_allclose(Bernoulli(logits).log_prob(x), expected, rtol=1e-5)
    assert Bernoulli(logits).log_prob(x).shape == (2,)


def test_the_log_probability_has_the_gradients_of_its_definition():
    logits = tf.constant([[-60.0, -30.0, -2.0, 0.0, 0.5, 30.0, 60.0]])
    x = tf.constant([[1.0, 0.0, 0.3, 1.0, 0.9, 0.5, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch([logits, x])
        log_prob = Bernoulli(logits).log_prob(x)
    by_logits, by_x = tape.gradient(log_prob, [logits, x])
    probabilities = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)))
    np.testing.assert_allclose(by_logits, x - probabilities, atol=1e-6)
    np.testing.assert_allclose(by_x, logits)


def test_the_log_probability_is_finite_at_certainty():
    certain = Bernoulli(tf.constant([100.0, -100.0])[tf.newaxis])
    np.testing.assert_allclose(certain.log_prob(tf.constant([[1.0, 0.0]])), [0.0], atol=1e-6)
    np.testing.assert_allclose(certain.log_prob(tf.constant([[0.0, 1.0]])), [-200.0])
    np.testing.assert_allclose(certain.mean(), [[1.0, 0.0]], atol=1e-6)


def test_the_probabilities_of_0_and_1_sum_to_one():
    logits = tf.constant([-60.0, -3.0, 0.0, 0.1, 60.0])[:, tf.newaxis, tf.newaxis, tf.newaxis]
    distribution = BINARIZED.distribution(logits)
    total = sum(
        np.exp(distribution.log_prob_by_pixel(tf.fill(logits.shape, x)).numpy()) for x in (0.0, 1.0)
    )
    np.testing.assert_allclose(total, np.ones((5, 1, 1)), rtol=1e-6)


def test_the_frequency_of_ones_among_samples_is_the_mean():
    logits = tf.constant([-3.0, 0.0, 1.0])
    distribution = BINARIZED.distribution(tf.broadcast_to(logits, (1000, 10, 10, 3)))
    x = distribution.sample(
        uniform((1000, 10, 10, BINARIZED.num_uniforms(3)), seed=0, step=tf.constant(0, tf.int64))
    )
    assert set(np.unique(x)) == {0.0, 1.0}
    np.testing.assert_allclose(x.numpy().mean((0, 1, 2)), tf.sigmoid(logits), atol=0.008)


def test_only_the_binarized_family_has_probabilities_of_levels():
    assert (BERNOULLI.binarizes, BERNOULLI.levels) == (False, None)
    assert (BINARIZED.binarizes, BINARIZED.levels) == (True, 2)
    assert BERNOULLI.num_outputs(3) == BINARIZED.num_outputs(3) == 3

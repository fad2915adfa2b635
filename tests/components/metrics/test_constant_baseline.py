import numpy as np
import pytest
import tensorflow as tf

from components.metrics.constant_baseline import constant_elbo, mean_image
from components.model.likelihoods.bernoulli import Bernoulli

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 3, 4, 2), np.uint8)


def test_the_mean_image_does_not_depend_on_the_batches():
    mean = mean_image([IMAGES])
    np.testing.assert_allclose(mean, IMAGES.mean(axis=0) / 255, rtol=1e-12)
    np.testing.assert_array_equal(mean_image([IMAGES[:7], IMAGES[7:8], IMAGES[8:]]), mean)


def test_the_elbo_of_half_grey_is_log_2_per_pixel():
    """If p = 1/2, log p(x) is -log 2 for every x."""
    assert constant_elbo(np.full((3, 4, 2), 0.5), mean_image([IMAGES])) == pytest.approx(
        -24 * np.log(2)
    )


def test_the_elbo_of_the_mean_is_its_entropy():
    """Each pixel is white in one of four images: the entropy is (log 4 + 3 log 4/3) / 4."""
    images = np.zeros((4, 2, 2, 1), np.uint8)
    images[[0, 1, 2, 3], [0, 0, 1, 1], [0, 1, 0, 1]] = 255
    entropy = (np.log(4) + 3 * np.log(4 / 3)) / 4
    assert constant_elbo(mean_image([images]), mean_image([images])) == pytest.approx(-4 * entropy)


def test_the_elbo_is_the_mean_log_likelihood_of_the_images():
    prediction = RNG.uniform(0.1, 0.9, (3, 4, 2))
    logits = tf.constant(np.log(prediction / (1 - prediction)), tf.float32)
    x = tf.constant(IMAGES / 255, tf.float32)
    expected = Bernoulli(tf.broadcast_to(logits, x.shape)).log_prob(x).numpy().mean()
    assert constant_elbo(prediction, mean_image([IMAGES])) == pytest.approx(expected, rel=1e-5)


def test_no_constant_image_is_better_than_the_mean():
    mean = mean_image([IMAGES])
    for change in (-0.05, 0.05, RNG.normal(0, 0.05, mean.shape)):
        assert constant_elbo(np.clip(mean + change, 0, 1), mean) < constant_elbo(mean, mean)


@pytest.mark.parametrize("value", [0, 255])
def test_pixels_that_never_vary_cost_almost_nothing_and_a_surprise_is_finite(value):
    constant = np.full((9, 2, 2, 1), value, np.uint8)
    assert constant_elbo(mean_image([constant]), mean_image([constant])) == pytest.approx(
        0, abs=1e-5
    )
    surprise = constant_elbo(mean_image([constant]), mean_image([255 - constant]))
    assert surprise == pytest.approx(4 * np.log(1e-6), rel=1e-5)

import itertools
import math

import keras
import numpy as np
import pytest

from components.metrics import importance
from components.metrics.elbo import estimate_elbo, observed
from components.metrics.importance import log_likelihoods
from components.model.vae import VAE

WEIGHTS = np.array([0.6, -0.3])
# The scale of a Gaussian likelihood at first.
VARIANCE = math.exp(-2.0)
# Two full blocks of 100 images and a part of a third.
IMAGES = np.random.default_rng(0).integers(0, 256, (230, 1, 2, 1), np.uint8)


@pytest.fixture(scope="module")
def linear_gaussian() -> VAE:
    """x = z * WEIGHTS + 0.5 + noise with z ~ N(0, 1), and a posterior that is not exact."""
    vae = VAE(image_shape=(1, 2, 1), network="mlp", latents=1, widths=(2,), likelihood="gaussian")
    # Intensities are not negative, so the hidden layer gives them unchanged. The decoder's hidden
    # layer gives the positive and the negative part of z.
    encoder = [np.eye(2), np.zeros(2), np.array([[1.2, 0.0], [-0.5, 0.0]]), np.array([-0.2, -1.0])]
    # Each pixel has a mean and a share of the log-scale, which is 0.
    outputs = np.array([WEIGHTS[0], 0, WEIGHTS[1], 0])
    decoder = [np.array([[1.0, -1.0]]), np.zeros(2), np.array([outputs, -outputs]), np.zeros(4)]
    vae.encoder.set_weights(encoder)
    vae.decoder.set_weights(decoder)
    return vae


def log_evidence(images: np.ndarray) -> np.ndarray:
    """log p(x): x is normal with the covariance matrix w wᵀ + s² I."""
    centered = images.reshape(-1, 2) / 255 - 0.5
    covariance = np.outer(WEIGHTS, WEIGHTS) + VARIANCE * np.eye(2)
    squares = (centered * np.linalg.solve(covariance, centered.T).T).sum(axis=1)
    return -0.5 * (squares + np.linalg.slogdet(2 * np.pi * covariance)[1])


def estimates(vae: VAE, images: np.ndarray = IMAGES, **options) -> np.ndarray:
    return np.concatenate(list(log_likelihoods(vae, images, **{"seed": 0, **options})))


def test_more_draws_close_the_gap_to_the_exact_log_likelihood(linear_gaussian):
    exact = log_evidence(IMAGES)
    gaps = [exact - estimates(linear_gaussian, samples=k) for k in (1, 10, 100, 3000)]
    assert gaps[0].mean() > 0.1
    errors = [np.abs(gap).mean() for gap in gaps]
    assert all(fewer > 2 * more for fewer, more in itertools.pairwise(errors))
    assert errors[-1] < 0.02
    assert gaps[-1].mean() == pytest.approx(0, abs=3e-3)


def test_one_draw_gives_the_elbo(linear_gaussian):
    draws = np.mean(
        [estimates(linear_gaussian, samples=1, seed=seed) for seed in range(30)], axis=0
    )
    elbo = estimate_elbo(linear_gaussian, IMAGES, seed=0, samples=200).elbo
    assert draws.mean() == pytest.approx(elbo.mean(), abs=0.05)


def test_every_image_is_estimated_once_block_by_block(linear_gaussian):
    blocks = list(log_likelihoods(linear_gaussian, IMAGES, samples=5, seed=0))
    assert [len(block) for block in blocks] == [100, 100, 30]
    assert all(block.dtype == np.float64 for block in blocks)
    later = list(log_likelihoods(linear_gaussian, IMAGES, samples=5, seed=0, first=100))
    for one, other in zip(later, blocks[1:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_draws_depend_on_the_seed_and_on_no_later_image(linear_gaussian):
    one = estimates(linear_gaussian, samples=15)
    np.testing.assert_array_equal(estimates(linear_gaussian, samples=15), one)
    assert (estimates(linear_gaussian, samples=15, seed=1) != one).all()
    first = estimates(linear_gaussian, IMAGES[:130], samples=15)
    np.testing.assert_allclose(first, one[:130], rtol=1e-5, atol=1e-6)


def test_smaller_batches_give_the_same_estimates(linear_gaussian, monkeypatch):
    whole = estimates(linear_gaussian, samples=15)
    monkeypatch.setattr(importance, "batch_size", lambda shape: 35)
    np.testing.assert_allclose(estimates(linear_gaussian, samples=15), whole, rtol=1e-5, atol=1e-6)


def test_a_model_of_binarized_pixels_is_given_the_one_binarization():
    vae = VAE(image_shape=(1, 2, 1), network="mlp", latents=1, widths=(2,), likelihood="binarized")
    binary = observed(vae, IMAGES, first=0)
    assert set(np.unique(binary)) == {0, 255}
    # Pixels of 0 and 255 are binarized to themselves.
    np.testing.assert_array_equal(estimates(vae, samples=4), estimates(vae, binary, samples=4))


def test_estimates_continue_only_at_the_start_of_a_block():
    for first in (0, 100, 200, 230):
        importance.check_start(first, 230)
    for first in (1, 150, 229, 231, 300):
        with pytest.raises(ValueError, match=f"image {first} of 230"):
            importance.check_start(first, 230)


def test_every_image_is_estimated_with_its_own_label(monkeypatch):
    keras.utils.set_random_seed(0)
    vae = VAE(
        image_shape=(1, 2, 1), network="mlp", latents=1, widths=(4,), classes=3, activation="silu"
    )
    labels = np.random.default_rng(1).integers(0, 3, len(IMAGES))
    whole = estimates(vae, labels=labels, samples=12)
    for label in range(3):
        of_label = estimates(vae, labels=np.full(len(IMAGES), label), samples=12)
        is_equal = np.isclose(of_label, whole, rtol=1e-5)
        assert is_equal[labels == label].all()
        assert not is_equal[labels != label].all()
    monkeypatch.setattr(importance, "batch_size", lambda shape: 35)
    parts = estimates(vae, labels=labels, samples=12)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)

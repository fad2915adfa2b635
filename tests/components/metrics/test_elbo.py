import math

import keras
import numpy as np
import pytest

from components.metrics.elbo import ElboTerms, estimate_elbo, observed
from components.model.corruption import parse_corruption
from components.model.pixels import to_unit
from components.model.vae import VAE


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return VAE(image_shape=(4, 4, 1), network="mlp", latents=2, widths=(8,))


@pytest.fixture(scope="module")
def images():
    # Two full batches of 1,000 images and one image more.
    return np.random.default_rng(0).integers(0, 256, (2001, 4, 4, 1), np.uint8)


def test_every_example_is_scored_once_at_any_number_of_images(model, images):
    elbo = estimate_elbo(model, images, seed=0)
    assert elbo.rate.shape == elbo.distortion.shape == (2001,)
    assert elbo.rates.shape == (2001, 2)
    assert elbo.rates.dtype == elbo.rate.dtype == elbo.distortion.dtype == np.float32
    posterior = model.posterior(to_unit(images))
    mean, log_variance = posterior.mean.numpy(), posterior.log_variance.numpy()
    rates = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance)
    np.testing.assert_allclose(elbo.rates, rates, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(elbo.rate, rates.sum(-1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(elbo.elbo, -(elbo.rate + elbo.distortion))


def test_the_rate_does_not_depend_on_the_order_of_the_dimensions():
    rng = np.random.default_rng(0)
    rates = (rng.random((50, 300)) * 10.0 ** rng.integers(-6, 3, (50, 300))).astype(np.float32)
    elbo = ElboTerms(rates, np.zeros(50, np.float32))
    exact = np.array([math.fsum(row) for row in rates.tolist()])
    np.testing.assert_array_equal(elbo.rate, exact.astype(np.float32))
    reordered = ElboTerms(rates[:, ::-1], elbo.distortion)
    np.testing.assert_array_equal(reordered.rate, elbo.rate)


def test_the_draws_depend_on_the_seed(model, images):
    one, same, other = (
        estimate_elbo(model, images[:50], seed=seed).distortion for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_the_distortion_is_averaged_over_draws(model, images):
    singles = [estimate_elbo(model, images[:200], seed=s).distortion for s in range(40)]
    averaged = estimate_elbo(model, images[:200], seed=99, samples=40).distortion
    deviation = np.std(singles, axis=0) * np.sqrt(2 / 40)
    assert np.mean(np.abs(np.mean(singles, axis=0) - averaged) < 4 * deviation + 1e-4) > 0.99


def test_rates_without_a_closed_form_are_averaged_over_draws(images):
    keras.utils.set_random_seed(0)
    vae = VAE(image_shape=(4, 4, 1), network="mlp", latents=2, widths=(8,), prior="real_nvp")
    one, many = (estimate_elbo(vae, images[:100], seed=0, samples=samples) for samples in (1, 50))
    assert one.rates.shape == many.rates.shape == (100, 1)
    # The mean squared error of 50 draws is a fiftieth of that of one.
    exact = estimate_elbo(vae, images[:100], seed=1, samples=400).rate
    errors = [np.square(each.rate - exact).mean() for each in (one, many)]
    assert errors[1] < 0.2 * errors[0]


def test_a_model_of_binarized_pixels_is_scored_on_the_one_binarization(images):
    """The number of an image is its position, in whatever batch it is."""
    vae = VAE(image_shape=(4, 4, 1), network="mlp", latents=2, widths=(8,), likelihood="binarized")
    binary = observed(vae, images, first=0)
    assert binary.dtype == np.uint8
    assert set(np.unique(binary)) == {0, 255}
    np.testing.assert_array_equal(observed(vae, images[7:], first=7), binary[7:])
    scores = estimate_elbo(vae, images, seed=0)
    # Pixels of 0 and 255 are binarized to themselves.
    of_binary = estimate_elbo(vae, binary, seed=0)
    np.testing.assert_array_equal(scores.distortion, of_binary.distortion)


def test_other_models_are_scored_on_the_images_themselves(model, images):
    np.testing.assert_array_equal(observed(model, images, first=0), images)


def test_parts_of_a_batch_do_not_change_the_scores(monkeypatch):
    vae = VAE(image_shape=(4, 6, 1), network="mlp", latents=3, widths=(5,))
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 6, 1), np.uint8)
    whole = estimate_elbo(vae, images, seed=1, samples=2)
    monkeypatch.setattr("components.metrics.elbo.batch_size", lambda shape: 3)
    parts = estimate_elbo(vae, images, seed=1, samples=2)
    np.testing.assert_allclose(parts.distortion, whole.distortion, rtol=1e-5)
    np.testing.assert_allclose(parts.rates, whole.rates, rtol=1e-4, atol=1e-6)


def test_every_image_is_scored_with_its_own_label(images, monkeypatch):
    keras.utils.set_random_seed(0)
    vae = VAE(image_shape=(4, 4, 1), network="mlp", latents=2, widths=(8,), classes=3)
    labels = np.random.default_rng(1).integers(0, 3, len(images))
    scores = estimate_elbo(vae, images, labels, seed=0)
    monkeypatch.setattr("components.metrics.elbo.batch_size", lambda shape: 700)
    parts = estimate_elbo(vae, images, labels, seed=0)
    np.testing.assert_allclose(parts.distortion, scores.distortion, rtol=1e-5)
    for label in range(3):
        # The draws depend on an image's position, so every image is scored with each label.
        of_label = estimate_elbo(vae, images, np.full(len(images), label), seed=0)
        is_equal = np.isclose(of_label.distortion, scores.distortion, rtol=1e-5)
        assert is_equal[labels == label].all()
        assert not is_equal[labels != label].all()


def test_the_bound_of_corrupted_images_is_on_the_clean_ones(model, images):
    black = parse_corruption("mask:1")
    corrupted = estimate_elbo(model, images[:1500], seed=0, corruption=black)
    of_black = estimate_elbo(model, np.zeros_like(images[:1500]), seed=0)
    np.testing.assert_allclose(corrupted.rates, of_black.rates, rtol=1e-5)
    rng = np.random.default_rng(np.random.SeedSequence([0, 1500]))
    noise = rng.standard_normal((1500, 2), np.float32)
    z = model.posterior(np.zeros((1500, 4, 4, 1), np.float32)).sample(noise)
    expected = -model.likelihood(z).log_prob(to_unit(images[:1500]))
    np.testing.assert_allclose(corrupted.distortion, expected, rtol=1e-4)

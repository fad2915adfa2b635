import keras
import numpy as np
import pytest

from components.model import decode as module
from components.model.decode import decode, reconstruct
from components.model.pixels import to_unit
from components.model.vae import VAE

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module", params=["factorized", "causal"])
def vae(request) -> VAE:
    keras.utils.set_random_seed(0)
    return VAE(
        image_shape=(4, 5, 1), network="mlp", latents=2, widths=(8,), feature_channels=3,
        head=request.param,
    )  # fmt: skip


def test_decoded_latents_are_the_likelihoods_means_in_any_batches(vae, monkeypatch):
    z = RNG.normal(size=(7, 2)).astype(np.float32)
    expected = vae.likelihood(z).mean()
    for size in (7, 3):
        monkeypatch.setattr(module, "batch_size", lambda shape, size=size: size)
        decoded = decode(vae, z)
        assert decoded.dtype == np.float32
        np.testing.assert_allclose(decoded, expected, rtol=1e-4, atol=1e-5)


def test_reconstructions_are_those_of_the_model_in_any_batches(vae, monkeypatch):
    images = RNG.integers(0, 256, (7, 4, 5, 1), np.uint8)
    expected = vae(to_unit(images))
    for size in (7, 3):
        monkeypatch.setattr(module, "batch_size", lambda shape, size=size: size)
        np.testing.assert_allclose(reconstruct(vae, images), expected, rtol=1e-4, atol=1e-5)


def test_labels_stay_with_their_rows_in_any_batches(monkeypatch):
    keras.utils.set_random_seed(0)
    vae = VAE(image_shape=(4, 5, 1), network="mlp", latents=2, widths=(8,), classes=3)
    z, labels = RNG.normal(size=(7, 2)).astype(np.float32), np.array([2, 0, 1, 1, 2, 0, 0])
    images = RNG.integers(0, 256, (7, 4, 5, 1), np.uint8)
    decoded = vae.likelihood(z, labels).mean()
    reconstructed = vae(to_unit(images), labels)
    for size in (7, 3):
        monkeypatch.setattr(module, "batch_size", lambda shape, size=size: size)
        np.testing.assert_allclose(decode(vae, z, labels), decoded, rtol=1e-4, atol=1e-5)
        ours = reconstruct(vae, images, labels)
        np.testing.assert_allclose(ours, reconstructed, rtol=1e-4, atol=1e-5)

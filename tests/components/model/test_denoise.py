"""The draws of a linear-Gaussian model, whose posterior is known exactly."""

import numpy as np
import pytest

from components.model.denoise import denoise
from components.model.principal_components import PrincipalComponents
from components.model.vae import VAE

RNG = np.random.default_rng(0)
SHAPE = (4, 5, 1)
VALUES = 20
NOISE = 0.05
COMPONENTS = PrincipalComponents(
    mean=np.full(VALUES, 0.5, np.float32),
    directions=np.linalg.qr(RNG.normal(size=(VALUES, 2)))[0].astype(np.float32),
    scales=np.float32([0.12, 0.06]),
    noise=NOISE,
    channels=1,
)
CLEAN = 0.5 + RNG.normal(size=(50, 2)) * COMPONENTS.scales @ COMPONENTS.directions.T
NOISY = np.rint(255 * (CLEAN + NOISE * RNG.normal(size=CLEAN.shape))).astype(np.uint8)
NOISY = NOISY.reshape(-1, *SHAPE)
KEYS = np.arange(50, dtype=np.uint64)
FACTOR = (COMPONENTS.directions * COMPONENTS.scales).astype(np.float64)


@pytest.fixture(scope="module")
def vae() -> VAE:
    """x = mean + factor z + noise e, with the exact posterior: all trained weights are 0."""
    model = VAE(
        image_shape=SHAPE, network="mlp", latents=2, widths=(4,), likelihood="gaussian",
        linear_path="principal_components",
    )  # fmt: skip
    model.set_principal_components(COMPONENTS)
    model.assign([np.zeros(weight.shape, np.float32) for weight in model.trainable_variables])
    return model


def test_the_mean_of_the_draws_is_the_exact_denoiser(vae):
    """By the formula of a normal distribution's conditional, in terms of the whole covariance."""
    samples = 400
    found = denoise(vae, NOISY, KEYS, samples=samples)
    covariance = FACTOR @ FACTOR.T + NOISE**2 * np.eye(VALUES)
    gain = FACTOR @ FACTOR.T @ np.linalg.inv(covariance)
    exact = 0.5 + (NOISY.reshape(50, -1) / 255 - 0.5) @ gain.T
    remaining = np.sqrt(np.diag(FACTOR @ FACTOR.T - gain @ FACTOR @ FACTOR.T))
    errors = found.mean.reshape(50, -1) - exact
    assert (np.abs(errors) < 5 * remaining / np.sqrt(samples) + 1e-5).all()
    deviations = found.deviation.reshape(50, -1).mean(axis=0)
    np.testing.assert_allclose(deviations, remaining, rtol=0.02)


def test_denoising_brings_images_nearer_to_the_clean_ones(vae):
    found = denoise(vae, NOISY, KEYS, samples=100).mean.reshape(50, -1)
    before = np.square(NOISY.reshape(50, -1) / 255 - CLEAN).mean()
    assert np.square(found - CLEAN).mean() < 0.2 * before


def test_the_first_draws_are_returned(vae):
    found = denoise(vae, NOISY[:3], KEYS[:3], samples=5, kept=5)
    assert found.draws.shape == (3, 5, *SHAPE)
    np.testing.assert_allclose(found.draws.mean(axis=1), found.mean, atol=1e-6)
    np.testing.assert_allclose(found.draws.std(axis=1), found.deviation, atol=1e-6)
    assert denoise(vae, NOISY[:3], KEYS[:3], samples=5).draws.shape == (3, 0, *SHAPE)


def test_the_draws_of_an_image_depend_on_its_key_alone(vae):
    whole = denoise(vae, NOISY, KEYS, samples=300, kept=1)
    for rows in (slice(0, 1), slice(7, 30)):
        part = denoise(vae, NOISY[rows], KEYS[rows], samples=300, kept=1)
        np.testing.assert_allclose(part.mean, whole.mean[rows], atol=1e-6)
        np.testing.assert_allclose(part.draws, whole.draws[rows], atol=1e-6)
    other = denoise(vae, NOISY[:1], KEYS[1:2], samples=300, kept=1)
    assert np.abs(other.draws - whole.draws[:1]).max() > 1e-3

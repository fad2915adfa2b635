"""A linear path of principal components, beside a network whose outputs are zero."""

import numpy as np
import pytest
import tensorflow as tf

from components.model import principal_components, vae
from components.model.likelihoods.gaussian import GAUSSIAN
from components.model.vae import VAE

RNG = np.random.default_rng(0)
SHAPE = (8, 8, 3)
LEVELS = (
    128
    + 40 * np.einsum("nk,kv->nv", RNG.normal(size=(300, 4)), RNG.normal(size=(4, 192)) / 4)
    + 6 * RNG.normal(size=(300, 192))
)
IMAGES = np.clip(LEVELS, 0, 255).astype(np.uint8).reshape(-1, *SHAPE)
COMPONENTS = principal_components.of_images(IMAGES, 4)


def silenced(model: VAE) -> VAE:
    """The model with a network that gives 0 everywhere: all of its trained weights are 0."""
    model.assign([np.zeros(weight.shape, np.float32) for weight in model.trainable_variables])
    return model


@pytest.fixture(params=[0, 3])
def linear(request) -> VAE:
    model = VAE(
        image_shape=SHAPE, network="conv", latents=4, widths=(4, 8), likelihood="gaussian",
        linear_path="principal_components", classes=request.param,
    )  # fmt: skip
    model.set_principal_components(COMPONENTS)
    return silenced(model)


def labels_of(model: VAE, count: int) -> tf.Tensor | None:
    return tf.zeros(count, tf.int32) if model.architecture.classes else None


def test_the_posterior_is_that_of_probabilistic_principal_components(linear):
    """By the formula of a normal distribution's conditional, in terms of the whole covariance."""
    x = IMAGES[:5].reshape(5, -1) / 255
    factor = (COMPONENTS.directions * COMPONENTS.scales).astype(np.float64)
    covariance = factor @ factor.T + COMPONENTS.noise**2 * np.eye(192)
    solved = np.linalg.solve(covariance, factor)
    posterior = linear.posterior(tf.constant(x.reshape(5, *SHAPE), tf.float32))
    np.testing.assert_allclose(posterior.mean, (x - COMPONENTS.mean) @ solved, atol=2e-3)
    variance = np.diag(np.eye(4) - factor.T @ solved)
    np.testing.assert_allclose(np.exp(posterior.log_variance), np.tile(variance, (5, 1)), rtol=1e-2)


def test_the_likelihood_is_that_of_probabilistic_principal_components(linear):
    z = RNG.normal(size=(6, 4)).astype(np.float32)
    likelihood = linear.likelihood(tf.constant(z), labels_of(linear, 6))
    expected = COMPONENTS.mean + (z * COMPONENTS.scales) @ COMPONENTS.directions.T
    np.testing.assert_allclose(likelihood.location, expected.reshape(6, *SHAPE), atol=1e-5)
    np.testing.assert_allclose(likelihood.log_scale, np.log(COMPONENTS.noise), rtol=1e-5)


def test_reconstructions_are_projections(linear):
    x = IMAGES[:20].reshape(20, -1) / 255
    projected = (x - COMPONENTS.mean) @ COMPONENTS.directions @ COMPONENTS.directions.T
    expected = np.clip(projected + COMPONENTS.mean, 0, 1).reshape(20, *SHAPE)
    images = tf.constant(IMAGES[:20] / 255, tf.float32)
    result = linear(images, labels_of(linear, 20))
    np.testing.assert_allclose(result, expected, atol=0.02)


def test_the_path_is_not_trained_and_is_saved(linear, tmp_path):
    names = [variable.path for variable in linear.trainable_variables]
    assert names
    assert not any("principal_components" in name for name in names)
    linear.save(tmp_path / "model.keras")
    loaded = vae.load(tmp_path / "model.keras")
    images = tf.constant(IMAGES[:3] / 255, tf.float32)
    labels = labels_of(linear, 3)
    np.testing.assert_array_equal(loaded(images, labels), linear(images, labels))
    copy = linear.in_float32()
    np.testing.assert_array_equal(copy(images, labels), linear(images, labels))


def test_without_components_the_path_gives_nothing():
    settings = {
        "image_shape": SHAPE, "network": "conv", "latents": 4, "widths": (4, 8),
        "likelihood": "gaussian",
    }  # fmt: skip
    model = VAE(**settings, linear_path="principal_components")
    plain = VAE(**settings)
    plain.assign([weight.numpy() for weight in model.trainable_variables])
    images = tf.constant(IMAGES[:3] / 255, tf.float32)
    np.testing.assert_allclose(model(images), plain(images), atol=1e-6)
    assert model.family is GAUSSIAN

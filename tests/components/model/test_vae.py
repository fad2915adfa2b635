import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model import vae
from components.model.vae import VAE

WIDTHS = {"mlp": (16, 8), "conv": (4, 8, 16)}


def make(network: str = "mlp", shape=(28, 28, 1), dtype: str = "float32") -> VAE:
    keras.utils.set_random_seed(0)
    return VAE(
        image_shape=shape, network=network, latents=3, widths=WIDTHS[network], compute_dtype=dtype
    )


def images(shape=(28, 28, 1), count: int = 5) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).random((count, *shape)), tf.float32)


@pytest.mark.parametrize("network", WIDTHS)
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (17, 30, 1)])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_shapes_and_float32_where_it_matters(network, shape, dtype):
    model = make(network, shape, dtype)
    posterior = model.posterior(images(shape))
    assert posterior.mean.shape == posterior.log_variance.shape == (5, 3)
    likelihood = model.likelihood(posterior.mean)
    assert likelihood.logits.shape == (5, *shape)
    for tensor in (posterior.mean, posterior.log_variance, likelihood.logits):
        assert tensor.dtype == tf.float32
    rate, distortion = model.rate_and_distortion(images(shape), tf.zeros((5, 3)))
    assert rate.shape == distortion.shape == (5,)
    assert all(weight.dtype == "float32" for weight in model.weights)


def test_mixed_precision_reaches_the_inner_layers():
    inner = make(dtype="mixed_bfloat16").encoder.layers[1]
    assert inner.compute_dtype == "bfloat16"


def test_rate_and_distortion_against_their_definitions():
    model = make()
    x, noise = images(), tf.random.stateless_normal((5, 3), seed=(0, 1))
    rate, distortion = model.rate_and_distortion(x, noise)
    mean, log_variance = np.split(model.encoder(x).numpy().astype(np.float64), 2, axis=-1)
    kl = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance).sum(-1)
    np.testing.assert_allclose(rate, kl, rtol=1e-4, atol=1e-6)
    z = mean + np.exp(log_variance / 2) * noise.numpy()
    p = 1 / (1 + np.exp(-model.decoder(z.astype(np.float32)).numpy().astype(np.float64)))
    cross_entropy = -(x * np.log(p) + (1 - x) * np.log(1 - p)).numpy().sum((1, 2, 3))
    np.testing.assert_allclose(distortion, cross_entropy, rtol=1e-5)


def test_rates_are_those_of_each_latent_dimension_and_add_up():
    model = make()
    x, noise = images(), tf.random.stateless_normal((5, 3), seed=(0, 1))
    rates, distortion = model.rates_and_distortion(x, noise)
    mean, log_variance = np.split(model.encoder(x).numpy().astype(np.float64), 2, axis=-1)
    expected = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance)
    np.testing.assert_allclose(rates, expected, rtol=1e-4, atol=1e-6)
    rate, same_distortion = model.rate_and_distortion(x, noise)
    np.testing.assert_allclose(rate, rates.numpy().sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(distortion, same_distortion)


def test_an_extreme_input_keeps_the_rate_finite():
    model = make()
    rate, distortion = model.rate_and_distortion(images() * 1e6, tf.ones((5, 3)))
    assert np.isfinite(rate).all()
    assert np.isfinite(distortion).all()


def test_called_it_reconstructs():
    model = make()
    expected = model.likelihood(model.posterior(images()).mode()).mean()
    np.testing.assert_array_equal(model(images()), expected)


@pytest.mark.parametrize("network", WIDTHS)
def test_saved_and_loaded_it_is_the_same(network, tmp_path):
    model = make(network, dtype="mixed_bfloat16").in_float32()
    model.save(tmp_path / "model.keras")
    loaded = vae.load(tmp_path / "model.keras")
    assert loaded.image_shape == (28, 28, 1)
    np.testing.assert_array_equal(loaded(images()), model(images()))


def test_in_float32_keeps_the_weights_and_changes_only_the_precision():
    mixed = make(dtype="mixed_bfloat16")
    exact = mixed.in_float32()
    for one, other in zip(mixed.get_weights(), exact.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert exact.encoder.layers[1].compute_dtype == "float32"
    np.testing.assert_allclose(mixed(images()), exact(images()), atol=0.02)


def test_in_float32_takes_other_weights_and_leaves_the_model_alone():
    model = make(dtype="mixed_bfloat16")
    before = model.get_weights()
    others = [weight + 1 for weight in before]
    for copied, other in zip(model.in_float32(others).get_weights(), others, strict=True):
        np.testing.assert_array_equal(copied, other)
    for now, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, old)


def test_to_unit():
    np.testing.assert_array_equal(
        vae.to_unit(tf.constant([0, 255], tf.uint8)), np.array([0, 1], np.float32)
    )

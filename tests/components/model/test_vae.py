import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model import vae
from components.model.vae import VAE

WIDTHS = {"mlp": (16, 8), "conv": (4, 8, 16), "keras_conv": (4, 8, 16)}


def make(network: str = "mlp", image_shape=(28, 28, 1), dtype: str = "float32") -> VAE:
    keras.utils.set_random_seed(0)
    return VAE(
        image_shape=image_shape,
        network=network,
        latents=3,
        widths=WIDTHS[network],
        compute_dtype=dtype,
    )


def random_images(image_shape=(28, 28, 1), count: int = 5) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).random((count, *image_shape)), tf.float32)


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("image_shape", [(28, 28, 1), (32, 32, 3), (17, 30, 1)])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_distributions_and_weights_are_float32_at_any_precision(network, image_shape, dtype):
    model = make(network, image_shape, dtype)
    posterior = model.posterior(random_images(image_shape))
    assert posterior.mean.shape == posterior.log_variance.shape == (5, 3)
    likelihood = model.likelihood(posterior.mean)
    assert likelihood.logits.shape == (5, *image_shape)
    for tensor in (posterior.mean, posterior.log_variance, likelihood.logits):
        assert tensor.dtype == tf.float32
    rates, distortion = model.rates_and_distortion(random_images(image_shape), tf.zeros((5, 3)))
    assert rates.shape == (5, 3)
    assert distortion.shape == (5,)
    assert all(weight.dtype == "float32" for weight in model.weights)


def test_inner_layers_compute_in_mixed_precision():
    inner = make(dtype="mixed_bfloat16").encoder.layers[1]
    assert inner.compute_dtype == "bfloat16"


def test_rates_and_distortion_agree_with_their_definitions():
    model = make()
    x, noise = random_images(), tf.random.stateless_normal((5, 3), seed=(0, 1))
    rates, distortion = model.rates_and_distortion(x, noise)
    mean, log_variance = np.split(model.encoder(x).numpy().astype(np.float64), 2, axis=-1)
    kl = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance)
    np.testing.assert_allclose(rates, kl, rtol=1e-4, atol=1e-6)
    z = mean + np.exp(log_variance / 2) * noise.numpy()
    p = 1 / (1 + np.exp(-model.decoder(z.astype(np.float32)).numpy().astype(np.float64)))
    cross_entropy = -(x * np.log(p) + (1 - x) * np.log(1 - p)).numpy().sum((1, 2, 3))
    np.testing.assert_allclose(distortion, cross_entropy, rtol=1e-5)


def test_an_extreme_input_keeps_rates_and_distortion_finite():
    model = make()
    rates, distortion = model.rates_and_distortion(random_images() * 1e6, tf.ones((5, 3)))
    assert np.isfinite(rates).all()
    assert np.isfinite(distortion).all()


def test_a_call_gives_the_likelihoods_mean_at_the_embedding():
    model = make()
    expected = model.likelihood(model.posterior(random_images()).mode()).mean()
    np.testing.assert_array_equal(model(random_images()), expected)


@pytest.mark.parametrize("network", WIDTHS)
def test_a_saved_model_is_loaded_unchanged(network, tmp_path):
    model = make(network, dtype="mixed_bfloat16").in_float32()
    model.save(tmp_path / "model.keras")
    loaded = vae.load(tmp_path / "model.keras")
    assert loaded.image_shape == (28, 28, 1)
    np.testing.assert_array_equal(loaded(random_images()), model(random_images()))


def test_the_saved_config_is_the_arguments_of_the_constructor():
    """Files of earlier versions hold these names: renaming one would make them unreadable."""
    config = make("conv").get_config()
    arguments = {
        "image_shape": (28, 28, 1),
        "network": "conv",
        "latents": 3,
        "widths": (4, 8, 16),
        "compute_dtype": "float32",
    }
    assert arguments.items() <= config.items()
    assert keras.saving.get_registered_name(VAE) == "vae_pipeline>VAE"
    shapes = [weight.shape for weight in VAE.from_config(config).weights]
    assert shapes == [weight.shape for weight in make("conv").weights]


def test_in_float32_keeps_the_weights_and_changes_only_the_precision():
    mixed = make(dtype="mixed_bfloat16")
    exact = mixed.in_float32()
    for one, other in zip(mixed.get_weights(), exact.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert exact.encoder.layers[1].compute_dtype == "float32"
    np.testing.assert_allclose(mixed(random_images()), exact(random_images()), atol=0.02)


def test_in_float32_accepts_other_weights_and_leaves_the_model_unchanged():
    model = make(dtype="mixed_bfloat16")
    before = model.get_weights()
    others = [weight + 1 for weight in before]
    for copied, other in zip(model.in_float32(others).get_weights(), others, strict=True):
        np.testing.assert_array_equal(copied, other)
    for after, weight in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(after, weight)

"""What holds for every network."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.networks.network import Network, NetworkSettings, grid
from components.model.registry import NETWORKS

WIDTHS = {
    "mlp": (16, 8),
    "conv": (4, 6, 8),
    "keras_conv": (4, 6, 8),
    "residual": (4, 6, 8),
}
SHAPES = [(16, 16, 1), (28, 28, 1), (27, 30, 3), (64, 64, 1), (1, 7, 3)]


def settings(name: str, **fields) -> NetworkSettings:
    """Settings of a small network, with the given fields."""
    defaults = {"image_shape": (28, 28, 1), "latents": 3, "outputs": 2, "widths": WIDTHS[name]}
    # Unlike relu, silu gives no layer of a small network the same outputs for all inputs.
    defaults |= {"encoder_blocks": 1, "features": 5, "activation": "silu"}
    return NetworkSettings(**defaults | fields)


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a network, and those within them."""
    return list(model._flatten_layers(include_self=False))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("image_shape", SHAPES, ids=str)
def test_encoders_and_decoders_have_outputs_of_the_right_shape(name, image_shape):
    network, sizes = NETWORKS[name], settings(name, image_shape=image_shape)
    images = tf.random.stateless_uniform((2, *image_shape), seed=(0, 0))
    encoded = network.encoder(sizes)(images)
    decoded = network.decoder(sizes)(encoded[:, :3])
    assert encoded.shape == (2, 6)
    assert decoded.shape == (2, *image_shape[:2], 2)
    for outputs in (encoded, decoded):
        assert np.isfinite(outputs).all()
        # Two images have different outputs.
        assert (outputs[0] != outputs[1]).numpy().any()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("is_output", [True, False])
def test_only_the_ends_of_a_network_are_float32_in_mixed_precision(name, dtype, is_output):
    """The outputs of a decoder are features if a head reads them."""
    network = NETWORKS[name]
    features = {} if is_output else {"head_reads_features": True, "features": 2}
    sizes = settings(name, dtype=dtype, **features)
    encoder, decoder = network.encoder(sizes), network.decoder(sizes)
    half = dtype.removeprefix("mixed_")
    assert encoder(tf.zeros((2, 28, 28, 1))).dtype == tf.float32
    assert decoder(tf.zeros((2, 3))).dtype == ("float32" if is_output else half)
    for model in (encoder, decoder):
        assert all(weight.dtype == "float32" for weight in model.weights)
        hidden = [layer for layer in all_layers(model) if layer.weights][:-1]
        assert hidden
        assert {layer.compute_dtype for layer in hidden} == {half}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_network_consists_of_layers_of_keras_alone(name, tmp_path):
    sizes = settings(name, image_shape=(27, 30, 3))
    inputs = {"encoder": tf.ones((2, 27, 30, 3)), "decoder": tf.ones((2, 3))}
    for part, x in inputs.items():
        model = getattr(NETWORKS[name], part)(sizes)
        modules = {type(layer).__module__.split(".")[0] for layer in [model, *all_layers(model)]}
        assert modules == {"keras"}
        assert model.name == part
        model.save(tmp_path / "part.keras")
        with keras.saving.CustomObjectScope({}):
            loaded = keras.saving.load_model(tmp_path / "part.keras", safe_mode=True)
        np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_activation_function_is_a_choice(name):
    relu, silu = (
        {
            layer.activation.__name__
            for layer in all_layers(NETWORKS[name].decoder(settings(name, activation=activation)))
            if hasattr(layer, "activation")
        }
        for activation in ("relu", "silu")
    )
    assert "silu" not in relu
    assert "silu" in silu
    assert "relu" not in silu


@pytest.mark.parametrize("name", NETWORKS)
def test_is_convolutional_agrees_with_the_layers(name):
    network: Network = NETWORKS[name]
    layers = all_layers(network.encoder(settings(name)))
    assert network.is_convolutional == any("conv" in layer.name for layer in layers)


@pytest.mark.parametrize(
    ("image_shape", "strides", "expected"),
    [
        ((28, 28, 1), 2, ((7, 7), ((0, 0), (0, 0)))),
        ((27, 30, 3), 2, ((7, 8), ((0, 1), (0, 2)))),
        ((1, 7, 1), 3, ((1, 1), ((0, 7), (0, 1)))),
        ((5, 6, 1), 0, ((5, 6), ((0, 0), (0, 0)))),
    ],
)
def test_the_grid_is_the_smallest_that_covers_the_image(image_shape, strides, expected):
    assert grid(image_shape, strides) == expected

import pytest
import tensorflow as tf

from components.model.network_registry import NETWORKS
from components.model.networks import MLP

WIDTHS = {"mlp": (16, 8), "conv": (4, 8, 16), "keras_conv": (4, 8, 16)}


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("image_shape", [(28, 28, 1), (1, 7, 3), (33, 5, 1)])
def test_encoders_and_decoders_have_float32_outputs_of_the_right_shape(name, image_shape):
    network = NETWORKS[name]
    sizes = {"latents": 3, "widths": WIDTHS[name], "dtype": "mixed_bfloat16"}
    encoded = network.encoder(image_shape, **sizes)(tf.zeros((2, *image_shape)))
    decoded = network.decoder(image_shape, **sizes)(tf.zeros((2, 3)))
    assert encoded.shape == (2, 6)
    assert decoded.shape == (2, *image_shape)
    assert encoded.dtype == decoded.dtype == tf.float32


def test_the_mlp_has_a_dense_layer_per_width():
    encoder, decoder = (
        build((28, 28, 1), latents=2, widths=(256,), dtype="float32")
        for build in (MLP.encoder, MLP.decoder)
    )
    shapes = [tuple(weight.shape) for weight in encoder.weights + decoder.weights]
    assert shapes[::2] == [(784, 256), (256, 4), (2, 256), (256, 784)]


@pytest.mark.parametrize("name", WIDTHS)
def test_is_convolutional_agrees_with_the_layers(name):
    network = NETWORKS[name]
    encoder = network.encoder((8, 8, 1), latents=2, widths=WIDTHS[name], dtype="float32")
    has_convolution = any("conv" in layer.name for layer in encoder.layers)
    assert network.is_convolutional == has_convolution

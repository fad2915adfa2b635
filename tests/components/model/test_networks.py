import pytest
import tensorflow as tf

from components.model.networks import NETWORKS, is_convolutional

WIDTHS = {"mlp": (16, 8), "conv": (4, 8, 16), "keras_conv": (4, 8, 16)}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", [(28, 28, 1), (1, 7, 3), (33, 5, 1)])
def test_encoders_give_two_numbers_a_latent_and_decoders_a_logit_a_pixel(network, shape):
    encoder, decoder = (
        build(shape, latents=3, widths=WIDTHS[network], dtype="mixed_bfloat16")
        for build in NETWORKS[network]
    )
    encoded, decoded = encoder(tf.zeros((2, *shape))), decoder(tf.zeros((2, 3)))
    assert encoded.shape == (2, 6)
    assert decoded.shape == (2, *shape)
    assert encoded.dtype == decoded.dtype == tf.float32


def test_the_mlp_is_the_one_its_widths_say():
    encoder, decoder = (
        build((28, 28, 1), latents=2, widths=(256,), dtype="float32") for build in NETWORKS["mlp"]
    )
    shapes = [tuple(weight.shape) for weight in encoder.weights + decoder.weights]
    assert shapes[::2] == [(784, 256), (256, 4), (2, 256), (256, 784)]


def test_which_networks_are_convolutional():
    assert [name for name in NETWORKS if is_convolutional(name)] == ["conv", "keras_conv"]

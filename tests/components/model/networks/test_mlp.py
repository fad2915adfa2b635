import numpy as np
import tensorflow as tf

from components.model.networks.mlp import MLP
from components.model.networks.network import NetworkSettings

SETTINGS = NetworkSettings((4, 5, 2), latents=3, widths=(7, 6), outputs=4)


def test_the_mlp_has_a_dense_layer_per_width_and_the_decoder_mirrors_the_encoder():
    sizes = NetworkSettings((28, 28, 1), latents=2, widths=(256, 64), outputs=1)
    encoder, decoder = MLP.encoder(sizes), MLP.decoder(sizes)
    shapes = [tuple(weight.shape) for weight in encoder.weights + decoder.weights]
    assert shapes[::2] == [(784, 256), (256, 64), (64, 4), (2, 64), (64, 256), (256, 784)]


def test_the_mlp_computes_its_definition():
    encoder = MLP.encoder(SETTINGS)
    x = np.random.default_rng(0).random((3, 4, 5, 2), np.float32)
    first, first_bias, second, second_bias, last, last_bias = encoder.get_weights()
    hidden = np.maximum(x.reshape(3, 40) @ first + first_bias, 0)
    hidden = np.maximum(hidden @ second + second_bias, 0)
    np.testing.assert_allclose(encoder(tf.constant(x)), hidden @ last + last_bias, atol=1e-5)

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.networks import residual
from components.model.networks.network import NetworkSettings
from components.model.networks.residual import RESIDUAL


def settings(**fields) -> NetworkSettings:
    defaults = {"image_shape": (12, 16, 3), "latents": 2, "widths": (8, 12, 10), "outputs": 4}
    return NetworkSettings(**defaults | {"features": 6, "activation": "silu"} | fields)


def kernel_shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.weights if len(weight.shape) > 1]


def applied(function, x: np.ndarray) -> np.ndarray:
    inputs = keras.Input(x.shape[1:])
    return keras.Model(inputs, function(inputs, "float32"))(tf.constant(x)).numpy()


def test_space_becomes_depth_and_depth_space_as_in_tensorflow():
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 8)).astype(np.float32)
    deep = applied(residual._space_to_depth, x)
    np.testing.assert_array_equal(deep, tf.nn.space_to_depth(x, 2))
    np.testing.assert_array_equal(applied(residual._depth_to_space, deep), x)
    np.testing.assert_array_equal(applied(residual._depth_to_space, x), tf.nn.depth_to_space(x, 2))


def test_a_block_adds_two_convolutions_to_its_input():
    rng = np.random.default_rng(0)
    inputs = keras.Input((5, 6, 4))
    block = keras.Model(inputs, residual.residual_block(inputs, settings()))
    x = tf.constant(rng.normal(size=(2, 5, 6, 4)), tf.float32)
    first, first_bias, second, second_bias = (
        rng.normal(size=weight.shape, scale=0.3).astype(np.float32) for weight in block.weights
    )
    block.set_weights([first, first_bias, second, second_bias])
    hidden = tf.nn.conv2d(tf.nn.silu(x), first, 1, "SAME") + first_bias
    hidden = tf.nn.conv2d(tf.nn.silu(hidden), second, 1, "SAME") + second_bias
    np.testing.assert_allclose(block(x), x + hidden, rtol=1e-4, atol=1e-5)


def test_the_kernels_of_the_encoder():
    encoder = RESIDUAL.encoder(settings(encoder_blocks=1))
    assert kernel_shapes(encoder) == [
        # Half the image's resolution, and a quarter.
        (3, 3, 4 * 3, 8),
        (3, 3, 8, 12),
        # A block and the bottleneck.
        (3, 3, 12, 12),
        (3, 3, 12, 12),
        (1, 1, 12, 3),
        (3 * 4 * 3, 10),
        (10, 4),
    ]


def test_the_kernels_of_the_decoder():
    decoder = RESIDUAL.decoder(settings(decoder_blocks=1))
    assert kernel_shapes(decoder) == [
        (2, 10),
        (10, 3 * 4 * 3),
        (1, 1, 3, 12),
        # A block at each resolution, then depth for twice the resolution.
        (3, 3, 12, 12),
        (3, 3, 12, 12),
        (1, 1, 12, 4 * 8),
        (3, 3, 8, 8),
        (3, 3, 8, 8),
        (1, 1, 8, 4 * 6),
        # The outputs of 6 features.
        (1, 1, 6, 4),
    ]


@pytest.mark.parametrize("blocks", [0, 2])
def test_blocks_are_a_choice(blocks):
    encoder = RESIDUAL.encoder(settings(encoder_blocks=blocks))
    assert len(kernel_shapes(encoder)) == 5 + 2 * blocks
    if blocks:
        decoder = RESIDUAL.decoder(settings(decoder_blocks=blocks))
        assert len(kernel_shapes(decoder)) == 6 + 2 * 2 * blocks


def test_features_that_a_head_reads_have_no_further_layer():
    """They have the precision of the inner layers, and every activation is the head's."""
    decoder = RESIDUAL.decoder(
        settings(outputs=6, dtype="mixed_bfloat16", head_reads_features=True)
    )
    assert kernel_shapes(decoder)[-1] == (1, 1, 8, 4 * 6)
    assert decoder(tf.zeros((1, 2))).dtype == tf.bfloat16


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_as_many_outputs_as_features_are_no_features(dtype):
    decoder = RESIDUAL.decoder(settings(outputs=6, dtype=dtype))
    assert kernel_shapes(decoder)[-2:] == [(1, 1, 8, 4 * 6), (1, 1, 6, 6)]


def test_pixels_are_seen_between_minus_one_and_one():
    """At half intensity, the first convolution has nothing to add to its bias."""
    encoder = RESIDUAL.encoder(settings())
    first = next(layer for layer in encoder.layers if "conv" in layer.name)
    outputs = keras.Model(encoder.inputs, first.output)(tf.fill((1, 12, 16, 3), 0.5))
    np.testing.assert_array_equal(outputs, np.zeros((1, 6, 8, 8)))

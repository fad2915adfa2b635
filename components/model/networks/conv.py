"""Small convolutional networks: strided convolutions and a dense layer."""

import functools
import math

import keras

from components.model.networks.network import Network, NetworkSettings, grid
from components.model.networks.transposed import transposed_convolution


def conv_encoder(settings: NetworkSettings, *, kernel: int = 4) -> keras.Sequential:
    """An encoder with a stride-2 convolution per width except the last, then a dense layer.

    Args:
      settings: its widths are the channels of each convolution, then the width of the dense layer.
      kernel: height and width of the convolution kernels, in pixels.
    """
    *channels, dense = settings.widths
    activation, dtype = settings.activation, settings.dtype
    return keras.Sequential(
        [
            keras.Input(settings.image_shape),
            *(
                keras.layers.Conv2D(n, kernel, 2, "same", activation=activation, dtype=dtype)
                for n in channels
            ),
            keras.layers.Flatten(dtype=dtype),
            keras.layers.Dense(dense, activation, dtype=dtype),
            keras.layers.Dense(2 * settings.latents, dtype="float32"),
        ],
        name="encoder",
    )


def conv_decoder(settings: NetworkSettings) -> keras.Sequential:
    """The mirror image of `conv_encoder`, with stride-2 transposed convolutions."""
    *channels, dense = settings.widths
    size, cropping = grid(settings.image_shape, len(channels))
    activation, dtype = settings.activation, settings.dtype
    return keras.Sequential(
        [
            keras.Input((settings.latents,)),
            keras.layers.Dense(dense, activation, dtype=dtype),
            keras.layers.Dense(math.prod(size) * channels[-1], activation, dtype=dtype),
            keras.layers.Reshape((*size, channels[-1]), dtype=dtype),
            *(
                keras.layers.Conv2DTranspose(n, 4, 2, "same", activation=activation, dtype=dtype)
                for n in reversed(channels[:-1])
            ),
            transposed_convolution(settings.outputs, 4, 2, dtype=settings.output_dtype),
            keras.layers.Cropping2D(cropping, dtype=settings.output_dtype),
        ],
        name="decoder",
    )


def keras_conv_decoder(settings: NetworkSettings) -> keras.Sequential:
    """The decoder of the VAE example in the Keras documentation (keras.io/examples/generative/vae).

    It differs from `conv_decoder` in three ways: its kernels are 3 x 3, it has no dense layer of
    width `widths[-1]`, and a transposed convolution of stride 1 follows the strided ones.
    """
    channels = settings.widths[:-1]
    size, cropping = grid(settings.image_shape, len(channels))
    activation, dtype = settings.activation, settings.dtype
    return keras.Sequential(
        [
            keras.Input((settings.latents,)),
            keras.layers.Dense(math.prod(size) * channels[-1], activation, dtype=dtype),
            keras.layers.Reshape((*size, channels[-1]), dtype=dtype),
            *(
                keras.layers.Conv2DTranspose(n, 3, 2, "same", activation=activation, dtype=dtype)
                for n in reversed(channels)
            ),
            transposed_convolution(settings.outputs, 3, 1, dtype=settings.output_dtype),
            keras.layers.Cropping2D(cropping, dtype=settings.output_dtype),
        ],
        name="decoder",
    )


CONV = Network(conv_encoder, conv_decoder, is_convolutional=True)
KERAS_CONV = Network(
    functools.partial(conv_encoder, kernel=3), keras_conv_decoder, is_convolutional=True
)

"""The network architectures of a VAE, each an encoder and a decoder.

An encoder maps images to the posterior's parameters, a decoder maps latents to the likelihood's
logits. Each builder returns a `keras.Sequential` with weights. Its layers compute in `dtype` (a
Keras dtype policy), except the output layer, which always computes in float32: it gives means,
log-variances or logits.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Protocol

import keras

from components.base.arithmetic import ceil_div
from components.base.shapes import Shape


class NetworkBuilder(Protocol):
    """Builds an encoder or a decoder."""

    def __call__(
        self, image_shape: Shape, *, latents: int, widths: Sequence[int], dtype: str
    ) -> keras.Sequential:
        """A network for images of the given shape.

        Args:
          image_shape: (height, width, channels).
          latents: number of latent dimensions.
          widths: layer widths in the encoder's order; a decoder reverses them.
          dtype: Keras dtype policy of the inner layers.
        """


@dataclasses.dataclass(frozen=True)
class Network:
    """One architecture of encoder and decoder.

    Attributes:
      encoder: builds [batch, height, width, channels] -> [batch, 2 * latents], the means followed
        by the log-variances.
      decoder: builds [batch, latents] -> logits [batch, height, width, channels].
      is_convolutional: whether the network contains convolutions.
    """

    encoder: NetworkBuilder
    decoder: NetworkBuilder
    is_convolutional: bool


def mlp_encoder(
    image_shape: Shape, *, latents: int, widths: Sequence[int], dtype: str
) -> keras.Sequential:
    """An encoder with one hidden dense layer per width."""
    return keras.Sequential(
        [
            keras.Input(image_shape),
            keras.layers.Flatten(dtype=dtype),
            *(keras.layers.Dense(width, "relu", dtype=dtype) for width in widths),
            keras.layers.Dense(2 * latents, dtype="float32"),
        ],
        name="encoder",
    )


def mlp_decoder(
    image_shape: Shape, *, latents: int, widths: Sequence[int], dtype: str
) -> keras.Sequential:
    """The mirror image of `mlp_encoder`."""
    return keras.Sequential(
        [
            keras.Input((latents,)),
            *(keras.layers.Dense(width, "relu", dtype=dtype) for width in reversed(widths)),
            keras.layers.Dense(math.prod(image_shape), dtype="float32"),
            keras.layers.Reshape(image_shape, dtype="float32"),
        ],
        name="decoder",
    )


def conv_encoder(
    image_shape: Shape, *, latents: int, widths: Sequence[int], dtype: str, kernel: int = 4
) -> keras.Sequential:
    """An encoder with a stride-2 convolution per width except the last, then a dense layer.

    Args:
      image_shape: (height, width, channels).
      latents: number of latent dimensions.
      widths: the channels of each convolution, then the width of the dense layer.
      dtype: Keras dtype policy of the inner layers.
      kernel: height and width of the convolution kernels, in pixels.
    """
    *channels, dense = widths
    return keras.Sequential(
        [
            keras.Input(image_shape),
            *(
                keras.layers.Conv2D(n, kernel, 2, "same", activation="relu", dtype=dtype)
                for n in channels
            ),
            keras.layers.Flatten(dtype=dtype),
            keras.layers.Dense(dense, "relu", dtype=dtype),
            keras.layers.Dense(2 * latents, dtype="float32"),
        ],
        name="encoder",
    )


def conv_decoder(
    image_shape: Shape, *, latents: int, widths: Sequence[int], dtype: str
) -> keras.Sequential:
    """The mirror image of `conv_encoder`, with stride-2 transposed convolutions."""
    *channels, dense = widths
    grid, cropping = _grid(image_shape, len(channels))
    return keras.Sequential(
        [
            keras.Input((latents,)),
            keras.layers.Dense(dense, "relu", dtype=dtype),
            keras.layers.Dense(math.prod(grid) * channels[-1], "relu", dtype=dtype),
            keras.layers.Reshape((*grid, channels[-1]), dtype=dtype),
            *(
                keras.layers.Conv2DTranspose(n, 4, 2, "same", activation="relu", dtype=dtype)
                for n in reversed(channels[:-1])
            ),
            keras.layers.Conv2DTranspose(image_shape[2], 4, 2, "same", dtype="float32"),
            keras.layers.Cropping2D(cropping, dtype="float32"),
        ],
        name="decoder",
    )


def keras_conv_decoder(
    image_shape: Shape, *, latents: int, widths: Sequence[int], dtype: str
) -> keras.Sequential:
    """The decoder of the VAE example in the Keras documentation (keras.io/examples/generative/vae).

    It differs from `conv_decoder` in three ways: its kernels are 3 x 3, it has no dense layer of
    width `widths[-1]`, and a transposed convolution of stride 1 follows the strided ones.
    """
    channels = widths[:-1]
    grid, cropping = _grid(image_shape, len(channels))
    return keras.Sequential(
        [
            keras.Input((latents,)),
            keras.layers.Dense(math.prod(grid) * channels[-1], "relu", dtype=dtype),
            keras.layers.Reshape((*grid, channels[-1]), dtype=dtype),
            *(
                keras.layers.Conv2DTranspose(n, 3, 2, "same", activation="relu", dtype=dtype)
                for n in reversed(channels)
            ),
            keras.layers.Conv2DTranspose(image_shape[2], 3, 1, "same", dtype="float32"),
            keras.layers.Cropping2D(cropping, dtype="float32"),
        ],
        name="decoder",
    )


def _grid(
    image_shape: Shape, num_strides: int
) -> tuple[tuple[int, int], tuple[tuple[int, int], ...]]:
    """The grid (height, width) that a decoder starts from, and the cropping of its output.

    `num_strides` layers double the grid's height and width. The grid is the smallest that covers
    the image, and the excess rows and columns are cropped, so images may have any size.
    """
    # Each of the encoder's convolutions halves its input and rounds up, which gives the same grid.
    stride = 2**num_strides
    height, width = (ceil_div(side, stride) for side in image_shape[:2])
    cropping = (0, height * stride - image_shape[0]), (0, width * stride - image_shape[1])
    return (height, width), cropping


MLP = Network(mlp_encoder, mlp_decoder, is_convolutional=False)
CONV = Network(conv_encoder, conv_decoder, is_convolutional=True)
KERAS_CONV = Network(
    functools.partial(conv_encoder, kernel=3), keras_conv_decoder, is_convolutional=True
)

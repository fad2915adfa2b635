"""The networks of a VAE: encoders (image to posterior parameters) and decoders (latent to logits).

Each builder returns an uncalled `keras.Sequential`. Layers compute in `dtype` (a Keras dtype
policy); the last one, which gives means, log-variances or logits, always in float32.
"""

import functools
import math
from collections.abc import Callable, Sequence

import keras

from components.base.shapes import Shape


def mlp_encoder(image_shape: Shape, *, latents: int, widths: Sequence[int], dtype: str):
    """[batch, height, width, channels] -> [batch, 2 * latents], one hidden layer a width."""
    return keras.Sequential(
        [
            keras.Input(image_shape),
            keras.layers.Flatten(dtype=dtype),
            *(keras.layers.Dense(width, "relu", dtype=dtype) for width in widths),
            keras.layers.Dense(2 * latents, dtype="float32"),
        ],
        name="encoder",
    )


def mlp_decoder(image_shape: Shape, *, latents: int, widths: Sequence[int], dtype: str):
    """[batch, latents] -> logits [batch, height, width, channels]: the encoder's mirror."""
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
):
    """As `mlp_encoder`; a convolution of stride 2 for each width but the last, then a dense one."""
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


def conv_decoder(image_shape: Shape, *, latents: int, widths: Sequence[int], dtype: str):
    """As `mlp_decoder`, with transposed convolutions; the image is cropped from a grid of whole
    strides, so any height and width will do."""
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


def keras_conv_decoder(image_shape: Shape, *, latents: int, widths: Sequence[int], dtype: str):
    """As `conv_decoder`, in the form of Keras's example: kernels of 3, no dense layer before the
    grid's, and a last transposed convolution at the image's own size."""
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


def _grid(image_shape: Shape, strides: int) -> tuple[tuple[int, int], tuple[tuple[int, int], ...]]:
    """The grid of whole strides of 2 that covers an image, and what to crop from it."""
    stride = 2**strides
    height, width = (-(-side // stride) for side in image_shape[:2])
    cropping = (0, height * stride - image_shape[0]), (0, width * stride - image_shape[1])
    return (height, width), cropping


NETWORKS: dict[str, tuple[Callable[..., keras.Sequential], Callable[..., keras.Sequential]]] = {
    "mlp": (mlp_encoder, mlp_decoder),
    "conv": (conv_encoder, conv_decoder),
    "keras_conv": (functools.partial(conv_encoder, kernel=3), keras_conv_decoder),
}


def is_convolutional(network: str) -> bool:
    """Whether a network is made of convolutions."""
    return network != "mlp"

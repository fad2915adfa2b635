"""The networks of a VAE: encoders (image to posterior parameters) and decoders (latent to logits).

Each builder returns an uncalled `keras.Sequential`. Layers compute in `dtype` (a Keras dtype
policy); the last one, which gives means, log-variances or logits, always in float32.
"""

import math
from collections.abc import Callable, Sequence

import keras

Shape = tuple[int, int, int]


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


def conv_encoder(image_shape: Shape, *, latents: int, widths: Sequence[int], dtype: str):
    """As `mlp_encoder`; a convolution of stride 2 for each width but the last, then a dense one."""
    *channels, dense = widths
    return keras.Sequential(
        [
            keras.Input(image_shape),
            *(
                keras.layers.Conv2D(n, 4, 2, "same", activation="relu", dtype=dtype)
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
    height, width, depth = image_shape
    stride = 2 ** len(channels)
    grid_height, grid_width = -(-height // stride), -(-width // stride)
    bottom, right = grid_height * stride - height, grid_width * stride - width
    return keras.Sequential(
        [
            keras.Input((latents,)),
            keras.layers.Dense(dense, "relu", dtype=dtype),
            keras.layers.Dense(grid_height * grid_width * channels[-1], "relu", dtype=dtype),
            keras.layers.Reshape((grid_height, grid_width, channels[-1]), dtype=dtype),
            *(
                keras.layers.Conv2DTranspose(n, 4, 2, "same", activation="relu", dtype=dtype)
                for n in reversed(channels[:-1])
            ),
            keras.layers.Conv2DTranspose(depth, 4, 2, "same", dtype="float32"),
            keras.layers.Cropping2D(((0, bottom), (0, right)), dtype="float32"),
        ],
        name="decoder",
    )


NETWORKS: dict[str, tuple[Callable[..., keras.Sequential], Callable[..., keras.Sequential]]] = {
    "mlp": (mlp_encoder, mlp_decoder),
    "conv": (conv_encoder, conv_decoder),
}


def is_convolutional(network: str) -> bool:
    """Whether a network is made of convolutions."""
    return network == "conv"

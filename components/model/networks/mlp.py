"""Multilayer perceptrons: dense layers."""

import keras

from components.model.networks.network import Network, NetworkSettings


def mlp_encoder(settings: NetworkSettings) -> keras.Sequential:
    """An encoder with one hidden dense layer per width."""
    dtype = settings.dtype
    return keras.Sequential(
        [
            keras.Input(settings.image_shape),
            keras.layers.Flatten(dtype=dtype),
            *(
                keras.layers.Dense(width, settings.activation, dtype=dtype)
                for width in settings.widths
            ),
            keras.layers.Dense(2 * settings.latents, dtype="float32"),
        ],
        name="encoder",
    )


def mlp_decoder(settings: NetworkSettings) -> keras.Sequential:
    """The mirror image of `mlp_encoder`."""
    height, width, _ = settings.image_shape
    return keras.Sequential(
        [
            keras.Input((settings.latents,)),
            *(
                keras.layers.Dense(units, settings.activation, dtype=settings.dtype)
                for units in reversed(settings.widths)
            ),
            keras.layers.Dense(height * width * settings.outputs, dtype=settings.output_dtype),
            keras.layers.Reshape((height, width, settings.outputs), dtype=settings.output_dtype),
        ],
        name="decoder",
    )


MLP = Network(mlp_encoder, mlp_decoder, is_convolutional=False)

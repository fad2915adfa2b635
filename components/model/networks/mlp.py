"""Multilayer perceptrons: dense layers, plain or gated."""

import math

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


def gated_encoder(settings: NetworkSettings) -> keras.Model:
    """An encoder of gated dense layers (Dauphin et al., 2017), as VampPrior's (Tomczak, 2018)."""
    inputs = keras.Input(settings.image_shape)
    hidden = keras.layers.Flatten(dtype=settings.dtype)(inputs)
    for units in settings.widths:
        hidden = _gated_dense(hidden, units, settings.dtype)
    outputs = keras.layers.Dense(2 * settings.latents, dtype="float32")(hidden)
    return keras.Model(inputs, outputs, name="encoder")


def gated_decoder(settings: NetworkSettings) -> keras.Model:
    """The mirror image of `gated_encoder`."""
    inputs = keras.Input((settings.latents,))
    hidden = inputs
    for units in reversed(settings.widths):
        hidden = _gated_dense(hidden, units, settings.dtype)
    shape = (*settings.image_shape[:2], settings.outputs)
    hidden = keras.layers.Dense(math.prod(shape), dtype=settings.output_dtype)(hidden)
    outputs = keras.layers.Reshape(shape, dtype=settings.output_dtype)(hidden)
    return keras.Model(inputs, outputs, name="decoder")


def _gated_dense(inputs: keras.KerasTensor, units: int, dtype: str) -> keras.KerasTensor:
    """(x A + a) * sigmoid(x B + b): the gate takes the place of the activation function."""
    values = keras.layers.Dense(units, dtype=dtype)(inputs)
    gates = keras.layers.Dense(units, "sigmoid", dtype=dtype)(inputs)
    return keras.layers.Multiply(dtype=dtype)([values, gates])


MLP = Network(mlp_encoder, mlp_decoder, is_convolutional=False)
GATED_MLP = Network(gated_encoder, gated_decoder, is_convolutional=False)

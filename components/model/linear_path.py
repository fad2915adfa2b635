"""A linear path parallel to an encoder and a decoder, given by principal components.

A network alone takes long to learn the mean of large images and their main variations.
Probabilistic principal component analysis (Tipping and Bishop, 1999), which is the best linear VAE,
provides both from the start. Its encoder and decoder are added to those of the network, which learn
what is left. They are not trained: the network can correct them, and the steps of an optimizer are
far too large for their small weights.
"""

import keras
import numpy as np

from components.model.likelihoods.gaussian import GAUSSIAN
from components.model.networks.network import NetworkSettings
from components.model.principal_components import PrincipalComponents

_NAME = "principal_components"


def beside_encoder(encoder: keras.Model, settings: NetworkSettings) -> keras.Model:
    """The sum of an encoder and of a linear map from images to means and log-variances."""
    inputs = keras.Input(settings.image_shape)
    linear = keras.layers.Flatten(dtype="float32")(inputs)
    linear = _frozen_dense(2 * settings.latents)(linear)
    return keras.Model(
        inputs, keras.layers.Add(dtype="float32")([encoder(inputs), linear]), name="encoder"
    )


def beside_decoder(decoder: keras.Model, settings: NetworkSettings) -> keras.Model:
    """The sum of a decoder and of a linear map from its inputs to its outputs."""
    height, width, _ = settings.image_shape
    inputs = keras.Input(decoder.input_shape[1:])
    linear = _frozen_dense(height * width * settings.outputs)(inputs)
    linear = keras.layers.Reshape((height, width, settings.outputs), dtype="float32")(linear)
    return keras.Model(
        inputs, keras.layers.Add(dtype="float32")([decoder(inputs), linear]), name="decoder"
    )


def set_principal_components(
    encoder: keras.Model, decoder: keras.Model, components: PrincipalComponents
) -> None:
    """Makes the linear paths of an encoder and a decoder those of principal components.

    Args:
      encoder: with a linear path.
      decoder: with a linear path to the outputs of a Gaussian likelihood. Inputs after the latents,
        such as labels, change nothing.
      components: of images of the model's shape, as many as it has latents.
    """
    scales, noise, directions = components.scales, components.noise, components.directions
    # With x = m + W S z + s e and standard normal z and e, the posterior of z has the variance
    # s² / (S² + s²) and the mean S / (S² + s²) Wᵀ (x - m).
    variances = scales**2 + noise**2
    to_means = directions * (scales / variances)
    encoder.get_layer(_NAME).set_weights(
        [
            np.concatenate([to_means, np.zeros_like(to_means)], axis=1),
            np.concatenate([-components.mean @ to_means, np.log(noise**2 / variances)]),
        ]
    )
    pixels = (-1, components.channels)
    bias = GAUSSIAN.outputs_of(components.mean.reshape(pixels), noise)
    layer = decoder.get_layer(_NAME)
    kernel = np.zeros((decoder.input_shape[-1], *bias.shape), np.float32)
    kernel[: len(scales), :, :-1] = (directions * scales).T.reshape(len(scales), *pixels)
    layer.set_weights([kernel.reshape(len(kernel), -1), bias.reshape(-1)])


def _frozen_dense(units: int) -> keras.layers.Dense:
    return keras.layers.Dense(
        units, kernel_initializer="zeros", dtype="float32", trainable=False, name=_NAME
    )

"""Encoder and decoder as Keras models of Keras's own layers, which load without this project."""

import math

import keras
import numpy as np
from keras import ops

from components.model.inference import LOG_VARIANCE_BOUND
from components.model.ladder import LadderDecoder
from components.model.vae import VAE


def plain_encoder(vae: VAE) -> keras.Model:
    """The encoder: `images`, pixels from 0 to 255, to `mean` and `log_variance`."""
    images = keras.Input(vae.image_shape, name="images")
    hidden = _plain(vae.encoder, vae)(keras.layers.Rescaling(1 / 255)(images))
    if isinstance(vae.decoder, LadderDecoder):
        mean, log_variance = _ladder_posterior(vae, images, hidden)
    else:
        mean, log_variance = _parameters(hidden)
    return keras.Model(images, {"mean": mean, "log_variance": log_variance}, name="encoder")


def plain_decoder(vae: VAE) -> keras.Model:
    """The decoder: `latents`, followed by the one-hot label if the model is conditional.

    It gives the parameters of the likelihood at each pixel or, if the head reads features, the
    features.
    """
    if not isinstance(vae.decoder, LadderDecoder):
        latents = keras.Input(vae.decoder.input_shape[1:], name="latents")
        return keras.Model(latents, _plain(vae.decoder, vae)(latents), name="decoder")
    latents = keras.Input((vae.latents,), name="latents")
    hidden = _start(vae.decoder, latents)
    first = 0
    for level in vae.decoder.levels:
        hidden = _plain(level.block, vae)(hidden)
        hidden = _merged(level, hidden, latents[:, first : first + level.size])
        first += level.size
    return keras.Model(latents, _plain(vae.decoder.features, vae)(hidden), name="decoder")


def _ladder_posterior(
    vae: VAE, images: keras.KerasTensor, maps: list[keras.KerasTensor] | keras.KerasTensor
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The posterior of each level of a hierarchy given the means above: see `Ladder.posterior`."""
    maps = maps if isinstance(maps, list | tuple) else [maps]
    hidden = _start(vae.decoder, ops.reshape(images, (-1, math.prod(vae.image_shape))))
    means, log_variances = [], []
    for level in vae.decoder.levels:
        hidden = _plain(level.block, vae)(hidden)
        inputs = [hidden, maps[level.resolution]]
        mean, log_variance = _parameters(_plain(level.posterior, vae)(inputs))
        if level.prior is not None:
            prior = _parameters(_plain(level.prior, vae)(hidden))
            mean, log_variance = mean + prior[0], log_variance + prior[1]
        means.append(ops.reshape(mean, (-1, level.size)))
        log_variances.append(ops.reshape(log_variance, (-1, level.size)))
        hidden = _merged(level, hidden, means[-1])
    return ops.concatenate(means, axis=-1), ops.concatenate(log_variances, axis=-1)


def _parameters(outputs: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The means and the bounded log-variances of a network's outputs: see `bounded_normal`."""
    half = outputs.shape[-1] // 2
    bound = LOG_VARIANCE_BOUND
    return outputs[..., :half], ops.clip(outputs[..., half:], -bound, bound)


def _start(decoder: LadderDecoder, rows: keras.KerasTensor) -> keras.KerasTensor:
    """The learned map above the top level, once for each row."""
    start = decoder.start(1).numpy()
    # A layer that holds the map: the bias of a dense layer without weights.
    layer = keras.layers.Dense(start.size, kernel_initializer="zeros")
    flat = layer(ops.zeros_like(rows[:, :1]))
    layer.set_weights([np.zeros((1, start.size)), start.ravel()])
    return ops.reshape(flat, (-1, *start.shape[1:]))


def _merged(level, hidden: keras.KerasTensor, z: keras.KerasTensor) -> keras.KerasTensor:
    """The hidden map of a level with its latents [rows, size]."""
    merge = type(level.merge).from_config(level.merge.get_config())
    merged = merge(ops.reshape(z, (-1, *level.latent_shape)))
    merge.set_weights(level.merge.get_weights())
    return hidden + merged


def _plain(network: keras.Model, vae: VAE) -> keras.Model:
    """A copy of a network with Keras's own activation functions."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        function = getattr(layer, "activation", None)
        if function is not None and not function.__module__.startswith("keras."):
            config["activation"] = vae.architecture.activation
        return type(layer).from_config(config)

    # With a linear path, the network is nested in another one.
    copy = keras.models.clone_model(network, clone_function=clone, recursive=True)
    copy.set_weights(network.get_weights())
    return copy

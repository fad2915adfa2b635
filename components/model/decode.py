"""Decoding of many latents and reconstruction of many images, computed in batches."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from components.model.batching import in_batches
from components.model.pixels import batch_size, to_unit
from components.model.vae import VAE


def decode(vae: VAE, z: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """The likelihood's means at latents: images in [0, 1].

    It is slow for a head that decodes the pixels one after the other.

    Args:
      vae: the model.
      z: float32, shape [N, latents], N > 0.
      labels: integers, shape [N], for a conditional model.

    Returns:
      float32, shape [N, height, width, channels].
    """
    return _images(vae, z, labels, _decode)


def reconstruct(vae: VAE, images: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """The likelihood's means at the embeddings of images.

    Args:
      vae: the model.
      images: uint8, shape [N, height, width, channels], N > 0.
      labels: integers, shape [N], for a conditional model.

    Returns:
      float32, of the same shape, in [0, 1].
    """
    return _images(vae, images, labels, _reconstruct)


def _images(
    vae: VAE,
    rows: np.ndarray,
    labels: np.ndarray | None,
    function: Callable[[VAE, np.ndarray, np.ndarray | None], tf.Tensor],
) -> np.ndarray:
    """The images that a function of the model gives for rows and their labels."""
    (images,) = in_batches(
        lambda *batch: [function(vae, *batch)], [rows, labels], size=batch_size(vae.image_shape)
    )
    return images


# At module level, so that a model is traced once.
@tf.function(reduce_retracing=True, autograph=False)
def _decode(vae: VAE, z: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
    return vae.likelihood(z, labels).mean()


@tf.function(reduce_retracing=True, autograph=False)
def _reconstruct(vae: VAE, batch: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
    return vae(to_unit(batch), labels)

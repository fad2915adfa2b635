"""Encoding of many images: the parameters of their posteriors, computed in batches."""

import numpy as np
import tensorflow as tf

from components.model.pixels import batch_size, to_unit
from components.model.vae import VAE


def encode(vae: VAE, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The posterior means (the embeddings) and log-variances of images.

    Args:
      vae: the model.
      images: uint8, shape [N, height, width, channels], N > 0.

    Returns:
      Means and log-variances, both float32, shape [N, latents].
    """
    size = batch_size(vae.image_shape)
    batches = [_encode(vae, images[first : first + size]) for first in range(0, len(images), size)]
    means, log_variances = zip(*batches, strict=True)
    return np.concatenate(means), np.concatenate(log_variances)


@tf.function(reduce_retracing=True, autograph=False)
def _encode(vae: VAE, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    posterior = vae.posterior(to_unit(batch))
    return posterior.mean, posterior.log_variance

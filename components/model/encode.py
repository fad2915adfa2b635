"""The embeddings of images: their posterior means, computed in batches."""

import numpy as np
import tensorflow as tf

from components.model.vae import VAE, to_unit

_BATCH = 1000


def encode(vae: VAE, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means and log-variances of uint8 images; both [N, latents], float32."""
    parts = [_encode(vae, images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)]
    means, log_variances = zip(*parts, strict=True)
    return np.concatenate(means), np.concatenate(log_variances)


@tf.function(reduce_retracing=True, autograph=False)
def _encode(vae: VAE, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    posterior = vae.posterior(to_unit(batch))
    return posterior.mean, posterior.log_variance

"""Denoised images: decoded draws from the posterior of noisy ones, and their mean."""

import dataclasses

import numpy as np
import tensorflow as tf

from components.model.pixels import forward_batch_size, to_unit
from components.model.vae import VAE

_SEED = 0


@dataclasses.dataclass(frozen=True)
class Denoised:
    """The estimates of a model for N noisy images, float32, each in [0, 1].

    Attributes:
      mean: mean of the decoded draws, shape [N, height, width, channels]. If the model is right, it
        has the least expected squared error of all images.
      deviation: standard deviation of the decoded draws at each value, of the same shape: how
        uncertain the model is about the clean image.
      draws: the first decoded draws, shape [N, kept, height, width, channels].
    """

    mean: np.ndarray
    deviation: np.ndarray
    draws: np.ndarray


def denoise(
    vae: VAE,
    images: np.ndarray,
    keys: np.ndarray,
    *,
    samples: int,
    kept: int = 0,
) -> Denoised:
    """Denoises images.

    Args:
      vae: the model; not a conditional one.
      images: noisy ones, uint8, shape [N, height, width, channels], N > 0.
      keys: a number for each image, uint64 [N]: its draws depend on nothing else.
      samples: number of draws for each image.
      kept: number of draws to return.
    """
    size = max(1, forward_batch_size(vae.image_shape) // samples)
    parts = []
    for first in range(0, len(images), size):
        noise = np.concatenate(
            [_noise(key, (samples, vae.latents)) for key in keys[first : first + size]]
        )
        results = _denoise(
            vae,
            images[first : first + size],
            noise,
            samples=samples,
            kept=kept,
        )
        parts.append([result.numpy() for result in results])
    return Denoised(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _noise(key: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng([_SEED, int(key)]).standard_normal(shape, np.float32)


# At module level, so that a model is traced once.
@tf.function(reduce_retracing=True, autograph=False)
def _denoise(
    vae: VAE,
    batch: tf.Tensor,
    noise: tf.Tensor,
    *,
    samples: int,
    kept: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    inference = vae.infer(to_unit(batch), noise, samples=samples)
    decoded = vae.likelihood_of(inference.features).mean()
    draws = tf.reshape(decoded, [-1, samples, *vae.image_shape])
    return tf.reduce_mean(draws, axis=1), tf.math.reduce_std(draws, axis=1), draws[:, :kept]

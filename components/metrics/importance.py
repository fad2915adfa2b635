"""The log-likelihood of images, estimated by importance sampling (Burda et al., 2016)."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from components.metrics.elbo import observed
from components.model.batching import in_batches
from components.model.objective import weighted_draws
from components.model.pixels import batch_size, part_of, to_unit
from components.model.vae import VAE

# Images whose draws are made together, and draws that are made at once for each of them. Other
# numbers would change the draws.
_BLOCK_IMAGES = 100
_BLOCK_SAMPLES = 10


def check_start(first: int, total: int) -> None:
    """Checks that estimates of a set can be continued at an image.

    Args:
      first: number of the image; that of all images if all are estimated.
      total: number of images in the set.

    Raises:
      ValueError: it is not the first image of a block.
    """
    if first > total or (first < total and first % _BLOCK_IMAGES):
        raise ValueError(f"estimates cannot continue at image {first} of {total}")


def log_likelihoods(
    vae: VAE,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    samples: int,
    seed: int,
    first: int = 0,
) -> Iterator[np.ndarray]:
    """Estimates of log p(x) for the images of an evaluation set, block by block.

    log 1/K Σ p(x, z_k) / q(z_k|x) with z_k from q(z|x) is on average at most log p(x). It grows
    with the number K of draws, and reaches log p(x) in the limit; with one draw it is the ELBO.

    The draws of an image depend only on the seed, on its number in the set, on the model's latents
    and on the number of draws, so that the work can be continued at any block.

    Args:
      vae: the model.
      images: all images of the set, uint8, shape [N, height, width, channels].
      labels: of the images, integers of shape [N], for a conditional model; the estimates are then
        those of log p(x|y).
      samples: number K of draws of z for each image.
      seed: seed of the draws.
      first: number of the first image to estimate, a multiple of the size of a block.

    Yields:
      The estimates of the next images in nats, float64, shape [at most 100]. The memory that it
      takes does not depend on the number of draws.
    """
    for start in range(first, len(images), _BLOCK_IMAGES):
        block = observed(vae, images[start : start + _BLOCK_IMAGES], first=start)
        rng = np.random.default_rng(np.random.SeedSequence([seed, start, samples]))
        # The logarithm of the sum of the weights so far, in float64: float32 would add rounding
        # errors over thousands of draws.
        total = np.full(len(block), -np.inf)
        for drawn in range(0, samples, _BLOCK_SAMPLES):
            count = min(_BLOCK_SAMPLES, samples - drawn)
            noise = rng.standard_normal((_BLOCK_IMAGES, count, vae.latents), np.float32)
            block_labels = part_of(labels, start, _BLOCK_IMAGES)
            weights = _log_weights(vae, block, noise[: len(block)], block_labels)
            total = np.logaddexp(total, np.logaddexp.reduce(weights, axis=1))
        yield total - np.log(samples)


def _log_weights(
    vae: VAE, block: np.ndarray, noise: np.ndarray, labels: np.ndarray | None
) -> np.ndarray:
    """log p(x, z) - log q(z|x) in nats, float64, shape [images, samples]."""
    samples = noise.shape[1]

    def weights_of(
        batch: np.ndarray, draws: np.ndarray, labels: np.ndarray | None
    ) -> list[tf.Tensor]:
        draws = draws.reshape(-1, vae.latents)
        return [_log_weights_of_batch(vae, batch, draws, labels, samples)]

    size = max(1, batch_size(vae.image_shape) // samples)
    (weights,) = in_batches(weights_of, [block, noise, labels], size=size)
    return weights.astype(np.float64)


# At module level, so that a model is traced once instead of at every evaluation.
@tf.function(reduce_retracing=True, autograph=False)
def _log_weights_of_batch(
    vae: VAE, batch: tf.Tensor, noise: tf.Tensor, labels: tf.Tensor | None, samples: int
) -> tf.Tensor:
    return weighted_draws(vae, to_unit(batch), noise, labels, samples=samples).log_weights

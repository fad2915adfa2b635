"""Rate, distortion and ELBO per example."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from components.model.batching import in_batches
from components.model.corruption import Corruption, corrupt_for_evaluation
from components.model.noise import binarize_for_evaluation
from components.model.pixels import batch_size, part_of, to_unit
from components.model.vae import VAE

# Images whose noise is drawn together; another number would change the draws.
_BATCH_SIZE = 1000


@dataclasses.dataclass(frozen=True)
class ElboTerms:
    """The two terms of the ELBO for N examples, in nats.

    Attributes:
      rates: float32. With a closed form, the rate of each latent dimension, shape [N, latents].
        Otherwise that of each level, estimated by a mean over draws of z, shape [N, levels].
      distortion: -E_q[log p(x|z)], estimated by a mean over draws of z, float32, shape [N].
    """

    rates: np.ndarray
    distortion: np.ndarray

    @property
    def rate(self) -> np.ndarray:
        """KL(q(z|x) || p(z)) in nats, float32, shape [N]."""
        # Summed in float64 and rounded once, so that the order of the terms does not matter.
        return self.rates.sum(axis=-1, dtype=np.float64).astype(np.float32)

    @property
    def elbo(self) -> np.ndarray:
        """-(rate + distortion) in nats, float32, shape [N]."""
        return -(self.rate + self.distortion)


def estimate_elbo(
    vae: VAE,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    seed: int,
    samples: int = 1,
    corruption: Corruption | None = None,
) -> ElboTerms:
    """The terms of the ELBO for each of N images.

    A model of binarized pixels is evaluated on the fixed binarization of evaluation sets, in which
    the position of an image is its number.

    Args:
      vae: the model.
      images: uint8, shape [N, height, width, channels], N > 0.
      labels: of the images, integers of shape [N], for a conditional model.
      seed: seed of the draws of z. The draws depend only on it, on N and on the model's latents.
      samples: draws of z per image.
      corruption: of the images that the encoder sees, whose draws depend on the position of an
        image; None for none. The bound is on the likelihood of the clean images in any case.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, len(images)]))
    all_rates, distortions = [], []
    for first in range(0, len(images), _BATCH_SIZE):
        batch = observed(vae, images[first : first + _BATCH_SIZE], first=first)
        seen = None
        if corruption is not None:
            seen = corrupt_for_evaluation(batch, corruption, first=first)
        draws = []
        for _ in range(samples):
            noise = rng.standard_normal((len(batch), vae.latents), np.float32)
            batch_labels = part_of(labels, first, _BATCH_SIZE)
            draws.append(_score_in_parts(vae, batch, noise, batch_labels, seen))
        rates, draw_distortions = zip(*draws, strict=True)
        has_fixed_rates = vae.latent_model.has_fixed_rates
        all_rates.append(rates[0] if has_fixed_rates else np.mean(rates, axis=0))
        distortions.append(np.mean(draw_distortions, axis=0))
    return ElboTerms(np.concatenate(all_rates), np.concatenate(distortions))


def observed(vae: VAE, images: np.ndarray, *, first: int) -> np.ndarray:
    """The images of an evaluation set as a model sees them.

    Args:
      vae: the model.
      images: consecutive images of the set, uint8, shape [N, height, width, channels].
      first: number of the first of them in the set.

    Returns:
      uint8: the images themselves or, for a model of binarized pixels, their binarization with the
      published seed, in which a pixel is 0 or 255.
    """
    if not vae.family.binarizes:
        return images
    return binarize_for_evaluation(images, first=first).astype(np.uint8) * np.uint8(255)


def _score_in_parts(
    vae: VAE,
    batch: np.ndarray,
    noise: np.ndarray,
    labels: np.ndarray | None,
    seen: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """`_score` in smaller batches if the images are large, with the same noise."""
    rates, distortion = in_batches(
        functools.partial(_score, vae),
        [batch, noise, labels, seen],
        size=batch_size(vae.image_shape),
    )
    return rates, distortion


# At module level, so that a model is traced once instead of at every evaluation.
@tf.function(reduce_retracing=True, autograph=False)
def _score(
    vae: VAE,
    batch: tf.Tensor,
    noise: tf.Tensor,
    labels: tf.Tensor | None,
    seen: tf.Tensor | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    seen = None if seen is None else to_unit(seen)
    return vae.rates_and_distortion(to_unit(batch), noise, labels, seen=seen)

"""Rate, distortion and ELBO per example."""

import dataclasses

import numpy as np
import tensorflow as tf

from components.model.pixels import batch_size, to_unit
from components.model.vae import VAE

# Images whose noise is drawn together; another number would change the draws.
_BATCH_SIZE = 1000


@dataclasses.dataclass(frozen=True)
class ElboTerms:
    """The two terms of the ELBO for N examples, in nats.

    Attributes:
      rates: rate of each latent dimension, in closed form, float32, shape [N, latents].
      distortion: -E_q[log p(x|z)], estimated by a mean over draws of z, float32, shape [N].
    """

    rates: np.ndarray
    distortion: np.ndarray

    @property
    def rate(self) -> np.ndarray:
        """KL(q(z|x) || p(z)) in nats, float32, shape [N]."""
        # Summed in float64 and rounded once, so that the order of the dimensions does not matter.
        return self.rates.sum(axis=-1, dtype=np.float64).astype(np.float32)

    @property
    def elbo(self) -> np.ndarray:
        """-(rate + distortion) in nats, float32, shape [N]."""
        return -(self.rate + self.distortion)


def estimate_elbo(vae: VAE, images: np.ndarray, *, seed: int, samples: int = 1) -> ElboTerms:
    """The terms of the ELBO for each of N images.

    Args:
      vae: the model.
      images: uint8, shape [N, height, width, channels], N > 0.
      seed: seed of the draws of z. The draws depend only on it, on N and on the model's latents.
      samples: draws of z per image.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, len(images)]))
    all_rates, distortions = [], []
    for first in range(0, len(images), _BATCH_SIZE):
        batch = images[first : first + _BATCH_SIZE]
        draws = []
        for _ in range(samples):
            noise = rng.standard_normal((len(batch), vae.latents), np.float32)
            rates, distortion = _score_in_parts(vae, batch, noise)
            draws.append(distortion)
        # The rates are in closed form: they are the same for every draw.
        all_rates.append(rates)
        distortions.append(np.mean(draws, axis=0))
    return ElboTerms(np.concatenate(all_rates), np.concatenate(distortions))


def _score_in_parts(
    vae: VAE, batch: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`_score` in smaller batches if the images are large, with the same noise."""
    size = batch_size(vae.image_shape)
    parts = [
        [tensor.numpy() for tensor in _score(vae, batch[first:][:size], noise[first:][:size])]
        for first in range(0, len(batch), size)
    ]
    rates, distortion = zip(*parts, strict=True)
    return np.concatenate(rates), np.concatenate(distortion)


# At module level, so that a model is traced once instead of at every evaluation.
@tf.function(reduce_retracing=True, autograph=False)
def _score(vae: VAE, batch: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return vae.rates_and_distortion(to_unit(batch), noise)

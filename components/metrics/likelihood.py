"""Held-out metrics: rate, distortion and ELBO of every example, and means with intervals."""

import dataclasses

import numpy as np
import tensorflow as tf

from components.model.vae import VAE, to_unit

_BATCH = 1000


@dataclasses.dataclass(frozen=True)
class Elbo:
    """The ELBO's two parts for every example, in nats.

    Attributes:
      rates: the rate of each latent dimension, in closed form, [N, latents].
      distortion: -E_q[log p(x|z)], as the mean over draws of z, [N].
    """

    rates: np.ndarray
    distortion: np.ndarray

    @property
    def rate(self) -> np.ndarray:
        """KL(q(z|x) || p(z)), [N]."""
        # Added up in float64, so that the order of the dimensions does not show.
        return self.rates.sum(axis=-1, dtype=np.float64).astype(np.float32)

    @property
    def elbo(self) -> np.ndarray:
        """Shape [N]."""
        return -(self.rate + self.distortion)


def elbo(vae: VAE, images: np.ndarray, *, seed: int, samples: int = 1) -> Elbo:
    """The ELBO of uint8 images [N, height, width, channels], each counted once.

    Args:
      vae: the model.
      images: what to score.
      seed: of the draws of z, which depend on nothing else.
      samples: draws of z per example.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, len(images)]))
    all_rates, distortions = [], []
    for first in range(0, len(images), _BATCH):
        batch = images[first : first + _BATCH]
        draws = []
        for _ in range(samples):
            noise = rng.standard_normal((len(batch), vae.latents), np.float32)
            rates, distortion = _score(vae, batch, noise)
            draws.append(distortion.numpy())
        all_rates.append(rates.numpy())
        distortions.append(np.mean(draws, axis=0))
    return Elbo(np.concatenate(all_rates), np.concatenate(distortions))


# Of the module, so that a model is traced once, not once an epoch.
@tf.function(reduce_retracing=True, autograph=False)
def _score(vae: VAE, batch: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return vae.rates_and_distortion(to_unit(batch), noise)

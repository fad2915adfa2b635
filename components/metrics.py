"""Held-out metrics: rate, distortion and ELBO of every example, and means with intervals."""

import dataclasses

import numpy as np
import tensorflow as tf

from components.vae import VAE, to_unit

_BATCH = 1000
_Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over examples.

    Attributes:
      value: the mean.
      half_width: of its 95 % interval, from the examples' standard deviation.
    """

    value: float
    half_width: float

    @staticmethod
    def of(values: np.ndarray) -> "Mean":
        values = values.astype(np.float64)
        if len(values) < 2:
            return Mean(float(values.mean()), float("inf"))
        deviation = values.std(ddof=1) / np.sqrt(len(values))
        return Mean(float(values.mean()), float(_Z_95 * deviation))


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


def embed(vae: VAE, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means and log-variances of uint8 images; both [N, latents], float32."""
    parts = [_encode(vae, images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)]
    means, log_variances = zip(*parts, strict=True)
    return np.concatenate(means), np.concatenate(log_variances)


def active_units(means: np.ndarray, *, threshold: float = 0.01) -> int:
    """How many latent dimensions tell examples apart (Burda et al., 2016).

    Args:
      means: of the posterior, [N, latents].
      threshold: variance over the examples above which a dimension counts.
    """
    return int(np.count_nonzero(means.var(axis=0, dtype=np.float64) > threshold))


# Of the module, so that a model is traced once, not once an epoch.
@tf.function(reduce_retracing=True, autograph=False)
def _score(vae: VAE, batch: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return vae.rates_and_distortion(to_unit(batch), noise)


@tf.function(reduce_retracing=True, autograph=False)
def _encode(vae: VAE, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    posterior = vae.posterior(to_unit(batch))
    return posterior.mean, posterior.log_variance

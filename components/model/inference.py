"""Draws from the posterior with everything that the objectives need about them."""

import dataclasses
from typing import Protocol

import keras
import tensorflow as tf

from components.model.distributions import Normal
from components.model.priors.prior import Prior

# exp(±20) is finite in float32, and no useful posterior is that wide or that narrow.
LOG_VARIANCE_BOUND = 20.0


@dataclasses.dataclass(frozen=True)
class PosteriorDraws:
    """Draws of z from q(z|x), one or more for each image.

    Attributes:
      z: shape [draws, latents].
      features: of the decoder at z, shape [draws, height, width, features].
      log_posterior: log q(z|x) in nats, by level, shape [draws, levels].
      log_prior: log p(z) in nats, by level, shape [draws, levels].
      closed_form_rates: KL(q(z|x) || p(z)) of each latent dimension in nats, shape
        [draws, latents]; None if the divergence of this posterior from this prior has no closed
        form.
    """

    z: tf.Tensor
    features: tf.Tensor
    log_posterior: tf.Tensor
    log_prior: tf.Tensor
    closed_form_rates: tf.Tensor | None

    @property
    def sampled_rates(self) -> tf.Tensor:
        """log q(z|x) - log p(z) in nats, by level, shape [draws, levels].

        The mean over draws is the rate.
        """
        return self.log_posterior - self.log_prior

    @property
    def rates(self) -> tf.Tensor:
        """The rates in closed form if there is one, otherwise those at the drawn z."""
        if self.closed_form_rates is not None:
            return self.closed_form_rates
        return self.sampled_rates


class LatentModel(Protocol):
    """The latents of a VAE: their posterior, their prior and how they are decoded.

    Attributes:
      latents: number of latent dimensions, over all levels.
      has_closed_form_rates: whether the rates have a closed form, by latent dimension.
      has_fixed_rates: whether the rates do not depend on the draw.
    """

    latents: int
    has_closed_form_rates: bool
    has_fixed_rates: bool

    def posterior(self, x: tf.Tensor) -> Normal:
        """q(z|x); in a hierarchy, that of each level given the means of the levels above."""

    def infer(
        self,
        x: tf.Tensor,
        noise: tf.Tensor,
        *,
        condition: tf.Tensor | None = None,
        samples: int = 1,
        stop_posterior: bool = False,
    ) -> PosteriorDraws:
        """Draws from q(z|x).

        Args:
          x: images, shape [batch, height, width, channels].
          noise: standard normal, shape [batch * samples, latents]: the draws of the first image,
            then those of the second, and so on.
          condition: what the decoder is given beside the latents, shape [batch, features].
          samples: number of draws for each image.
          stop_posterior: whether the gradient of `log_posterior` with respect to the posterior's
            own parameters is left out; the one through z remains.
        """

    def decode(self, z: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        """The decoder's features at latents [batch, latents], given a condition as `infer`'s."""

    def sample_prior(self, noise: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        """Draws from p(z), made of standard normal noise; both have the shape [batch, latents].

        Args:
          noise: standard normal.
          condition: that of `infer`, which the prior depends on, too.
        """


class OneLevel:
    """A single vector of latents.

    Args:
      encoder: maps images to means and log-variances, [batch, 2 * latents].
      prior: p(z).
      decoder: maps latents, followed by the condition if there is one, to features.
      prior_means: maps a condition y to the mean m(y) of the latents, [batch, latents]: the prior
        p(z|y) is then `prior`, given y, at z - m(y). If the prior did not depend on the label, the
        latents alone would describe what an image shows, and the decoder would not learn to use the
        label.
    """

    def __init__(
        self,
        encoder: keras.Model,
        prior: Prior,
        decoder: keras.Model,
        prior_means: keras.layers.Layer | None = None,
    ):
        self._encoder = encoder
        self._prior = prior
        self._decoder = decoder
        self._prior_means = prior_means
        self.latents = prior.latents
        self.has_closed_form_rates = self.has_fixed_rates = prior.has_closed_form

    def posterior(self, x: tf.Tensor) -> Normal:
        with tf.name_scope("encoder"):
            return bounded_normal(self._encoder(x))

    def infer(
        self,
        x: tf.Tensor,
        noise: tf.Tensor,
        *,
        condition: tf.Tensor | None = None,
        samples: int = 1,
        stop_posterior: bool = False,
    ) -> PosteriorDraws:
        posterior = self.posterior(x)
        if samples > 1:
            posterior = Normal(
                tf.repeat(posterior.mean, samples, axis=0),
                tf.repeat(posterior.log_variance, samples, axis=0),
            )
            if condition is not None:
                condition = tf.repeat(condition, samples, axis=0)
        z = posterior.sample(noise)
        density = posterior.without_gradient() if stop_posterior else posterior
        with tf.name_scope("prior"):
            prior_mean = None if self._prior_means is None else self._prior_means(condition)
            log_prior = self._prior.log_prob(_centered(z, prior_mean), condition)
            closed_form = self._prior.kl_by_dimension(
                Normal(_centered(posterior.mean, prior_mean), posterior.log_variance)
            )
        return PosteriorDraws(
            z=z,
            features=self.decode(z, condition),
            log_posterior=density.log_prob(z)[:, tf.newaxis],
            log_prior=log_prior[:, tf.newaxis],
            closed_form_rates=closed_form,
        )

    def decode(self, z: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        with tf.name_scope("decoder"):
            return self._decoder(z if condition is None else tf.concat([z, condition], axis=-1))

    def sample_prior(self, noise: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        z = self._prior.sample(noise, condition)
        return z if self._prior_means is None else z + self._prior_means(condition)


def _centered(z: tf.Tensor, mean: tf.Tensor | None) -> tf.Tensor:
    """z - m, or z itself without a mean."""
    return z if mean is None else z - mean


def bounded_normal(parameters: tf.Tensor) -> Normal:
    """The normal distribution of means and log-variances [batch, 2 * latents], bounded."""
    mean, log_variance = tf.split(parameters, 2, axis=-1)
    bounded = tf.clip_by_value(log_variance, -LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)
    return Normal(mean, bounded)

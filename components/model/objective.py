"""The training objectives: bounds on the log-likelihood, as losses of single examples.

Each is a loss in nats whose gradient is followed. All of them also report the rate and the
distortion of the ELBO, so that runs with different objectives can be compared.
"""

import dataclasses
from typing import NamedTuple, Protocol

import tensorflow as tf

from components.model.vae import VAE


class Losses(NamedTuple):
    """The losses of a batch, in nats, each of shape [batch].

    Attributes:
      loss: what training minimizes.
      rate: estimate of KL(q(z|x) || p(z)).
      distortion: estimate of -E_q[log p(x|z)].
    """

    loss: tf.Tensor
    rate: tf.Tensor
    distortion: tf.Tensor


class Objective(Protocol):
    """A training objective.

    Attributes:
      samples: number of draws of z for each example.
      description: the objective in a few words, for `--dry_run`.
    """

    @property
    def samples(self) -> int: ...

    @property
    def description(self) -> str: ...

    def __call__(
        self,
        vae: VAE,
        images: tf.Tensor,
        noise: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        seen: tf.Tensor | None = None,
        beta: tf.Tensor,
        free_bits: float,
    ) -> Losses:
        """The losses of a batch.

        Args:
          vae: the model.
          images: in [0, 1], shape [batch, height, width, channels].
          noise: standard normal, shape [batch, samples * latents].
          labels: of the images, integers of shape [batch], for a conditional model.
          seen: what the encoder sees of the images, of their shape; None for the images. The
            likelihood is that of the images, so the loss of corrupted ones is still a bound on
            log p(x) (Im et al., 2017).
          beta: weight of the rate (beta-VAE; Higgins et al., 2017). 1 gives the bound itself.
          free_bits: floor of each rate in the loss, in nats: of each latent dimension or, where the
            rates have no closed form, of each level. Below it, nothing pulls the posterior towards
            the prior (Kingma et al., 2016); 0 for none. The paper applies the floor to the mean
            over a minibatch. Here it applies to each example, so that an example's loss depends on
            no other example and not on the number of replicas.
        """


@dataclasses.dataclass(frozen=True)
class Elbo:
    """The negative ELBO, with the rate in closed form where there is one.

    Attributes:
      path_derivative: whether the gradient leaves out the posterior's parameters in log q(z|x) and
        keeps the path through z. That term has the mean 0 but not the variance 0, except where the
        posterior is exact ("sticking the landing"; Roeder et al., 2017). The rate is then estimated
        at the drawn z.
    """

    path_derivative: bool = False
    samples: int = 1

    @property
    def description(self) -> str:
        return "the ELBO" + (" by its path derivative" if self.path_derivative else "")

    def __call__(
        self,
        vae: VAE,
        images: tf.Tensor,
        noise: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        seen: tf.Tensor | None = None,
        beta: tf.Tensor,
        free_bits: float,
    ) -> Losses:
        inference = vae.infer(
            images if seen is None else seen,
            noise,
            labels,
            samples=1,
            stop_posterior=self.path_derivative,
        )
        rates = inference.sampled_rates if self.path_derivative else inference.rates
        distortion = vae.distortion(images, inference.features)
        loss = distortion + beta * _floored_rate(rates, free_bits)
        return Losses(loss, tf.reduce_sum(rates, axis=-1), distortion)


@dataclasses.dataclass(frozen=True)
class ImportanceWeighted:
    """The importance-weighted bound of k draws (Burda et al., 2016), negative.

    It is tighter than the ELBO, and exact as k grows.

    Attributes:
      samples: the number k of draws of z for each example.
    """

    samples: int

    @property
    def description(self) -> str:
        return f"the importance-weighted bound of {self.samples} draws"

    def __call__(
        self,
        vae: VAE,
        images: tf.Tensor,
        noise: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        seen: tf.Tensor | None = None,
        beta: tf.Tensor,
        free_bits: float,
    ) -> Losses:
        draws = weighted_draws(
            vae,
            images,
            tf.reshape(noise, [-1, vae.latents]),
            labels,
            samples=self.samples,
            seen=seen,
            beta=beta,
            free_bits=free_bits,
        )
        # The bound is log 1/k Σ w.
        loss = tf.math.log(float(self.samples)) - tf.reduce_logsumexp(draws.log_weights, axis=-1)
        return Losses(
            loss,
            tf.reduce_mean(draws.rates, axis=-1),
            tf.reduce_mean(draws.distortions, axis=-1),
        )


class WeightedDraws(NamedTuple):
    """Draws of z from q(z|x) with their importance weights, in nats, shape [batch, samples].

    Attributes:
      log_weights: log p(x|z) + beta (log p(z) - log q(z|x)).
      rates: log q(z|x) - log p(z).
      distortions: -log p(x|z).
    """

    log_weights: tf.Tensor
    rates: tf.Tensor
    distortions: tf.Tensor


def weighted_draws(
    vae: VAE,
    images: tf.Tensor,
    noise: tf.Tensor,
    labels: tf.Tensor | None = None,
    *,
    samples: int,
    seen: tf.Tensor | None = None,
    beta: tf.Tensor | float = 1.0,
    free_bits: float = 0.0,
) -> WeightedDraws:
    """Draws from q(z|x) with their weights.

    The mean of the weights of an image, with beta 1 and no free bits, estimates p(x).

    Args:
      vae: the model.
      images: in [0, 1], shape [batch, height, width, channels].
      noise: standard normal, shape [batch * samples, latents].
      labels: of the images, integers of shape [batch], for a conditional model.
      samples: number of draws for each image.
      seen: as for an `Objective`.
      beta: as for an `Objective`.
      free_bits: as for an `Objective`.
    """
    inference = vae.infer(images if seen is None else seen, noise, labels, samples=samples)
    distortion = vae.distortion(tf.repeat(images, samples, axis=0), inference.features)
    rates = inference.sampled_rates
    # log w = log p(x|z) + beta (log p(z) - log q(z|x))
    log_weights = -(distortion + beta * _floored_rate(rates, free_bits))
    by_draw = (log_weights, tf.reduce_sum(rates, axis=-1), distortion)
    return WeightedDraws(*(tf.reshape(values, [-1, samples]) for values in by_draw))


def _floored_rate(rates: tf.Tensor, free_bits: float) -> tf.Tensor:
    """The sum of the rates, each at least `free_bits`, in nats, shape [draws]."""
    # Σ_d max(rate_d, free_bits)
    return tf.reduce_sum(tf.maximum(rates, free_bits) if free_bits else rates, axis=-1)


def elbo(samples: int) -> Objective:
    """The ELBO, which has one draw per example."""
    del samples
    return Elbo()


def path_derivative(samples: int) -> Objective:
    """The ELBO with its path-derivative gradient, which has one draw per example."""
    del samples
    return Elbo(path_derivative=True)


def importance_weighted(samples: int) -> Objective:
    """The importance-weighted bound."""
    return ImportanceWeighted(samples)

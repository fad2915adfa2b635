"""The latents of a model with a single vector of them, on a message."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from components.compression.ans import Message
from components.compression.latents import (
    Coupling,
    pop_posterior,
    pop_prior,
    push_posterior,
    push_prior,
)
from components.model.pixels import to_unit
from components.model.priors.flow import LOG_SCALE_BOUND, RealNVP
from components.model.vae import VAE

CPU = "/CPU:0"
# Pixels that go through a network at once, to bound the memory; part of the format.
_MOST_PIXELS = 1 << 17


class OneLevelLatents:
    """A `LatentCoder` of a VAE with one level of latents.

    Args:
      vae: the model.
    """

    def __init__(self, vae: VAE):
        self._vae = vae
        height, width, _ = vae.image_shape
        self._most_images = max(1, _MOST_PIXELS // (height * width))

    def couplings(self, labels: np.ndarray) -> list[Coupling]:
        """The couplings from the latents to the base space, where the prior is standard normal.

        Args:
          labels: see `LatentCoder`.
        """
        prior, condition = self._vae.prior, self._condition(labels)
        numbers = range(len(prior.conditioners)) if isinstance(prior, RealNVP) else ()
        return [FlowCoupling(prior, number, condition) for number in numbers]

    def pop_posterior(
        self, message: Message, images: np.ndarray, labels: np.ndarray, step: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `LatentCoder.pop_posterior`."""
        z = pop_posterior(message, *self.posterior(images), step)
        return z, self.features(z * step, labels)

    def push_prior(self, message: Message, z: np.ndarray, labels: np.ndarray, step: float) -> None:
        """See `LatentCoder.push_prior`."""
        push_prior(message, z - self._prior_means(labels, step), self.couplings(labels), step)

    def pop_prior(
        self, message: Message, labels: np.ndarray, step: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `LatentCoder.pop_prior`."""
        shape = (len(labels), self._vae.latents)
        centered = pop_prior(message, shape, self.couplings(labels), step)
        z = centered + self._prior_means(labels, step)
        return z, self.features(z * step, labels)

    def push_posterior(
        self, message: Message, z: np.ndarray, images: np.ndarray, step: float
    ) -> None:
        """See `LatentCoder.push_posterior`."""
        push_posterior(message, z, *self.posterior(images), step)

    def posterior(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The means and the standard deviations of the posteriors, float64 [N, latents].

        Args:
          images: uint8, shape [N, height, width, channels].
        """

        def parameters(images: np.ndarray) -> tf.Tensor:
            posterior = self._vae.posterior(tf.constant(to_unit(images)))
            return tf.stack([posterior.mean, tf.exp(0.5 * posterior.log_variance)], axis=1)

        both = self._in_parts(parameters, images).astype(np.float64)
        return both[:, 0], both[:, 1]

    def features(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The decoder's features, float32 [N, height, width, features].

        Args:
          z: latents, float64 [N, latents].
          labels: see `LatentCoder`.
        """

        def decode(z: np.ndarray, labels: np.ndarray) -> tf.Tensor:
            return self._vae.latent_model.decode(
                tf.constant(z, tf.float32), self._condition(labels)
            )

        return self._in_parts(decode, z, labels)

    def _condition(self, labels: np.ndarray) -> tf.Tensor | None:
        classes = self._vae.architecture.classes
        return tf.one_hot(labels, classes) if classes else None

    def _prior_means(self, labels: np.ndarray, step: float) -> np.ndarray | int:
        """The means that the prior has for labels, in steps, int64 [N, latents]; 0 for none."""
        if self._vae.prior_means is None:
            return 0
        with tf.device(CPU):
            means = np.asarray(self._vae.prior_means(self._condition(labels)))
        # On the grid: half a step is a small part of a deviation of the prior.
        return np.rint(means.astype(np.float64) / step).astype(np.int64)

    def _in_parts(self, function: Callable[..., tf.Tensor], *inputs: np.ndarray) -> np.ndarray:
        """The results of a function of some images at once, joined."""
        # The same parts for encoder and decoder: the last bits of a product may depend on its size.
        results, most = [], self._most_images
        with tf.device(CPU):
            for first in range(0, len(inputs[0]), most):
                part = function(*(each[first : first + most] for each in inputs))
                results.append(np.asarray(part))
        return np.concatenate(results)


class FlowCoupling:
    """A coupling of `RealNVP`.

    Args:
      prior: the flow.
      number: of the coupling.
      condition: that the prior is given, [N, conditions]; None without one.
    """

    def __init__(self, prior: RealNVP, number: int, condition: tf.Tensor | None):
        halves = range(prior.latents // 2), range(prior.latents // 2, prior.latents)
        self._kept, self.moved = halves[number % 2], halves[1 - number % 2]
        self._conditioner = prior.conditioners[number]
        self._condition = condition

    def amounts(self, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Coupling.amounts`."""
        kept = latents[:, self._kept.start : self._kept.stop]
        # A single latent is conditioned on a constant.
        inputs = kept if len(self._kept) else np.ones((len(latents), 1))
        if self._condition is not None:
            inputs = np.concatenate([inputs, self._condition], axis=1)
        with tf.device(CPU):
            outputs = np.asarray(self._conditioner(tf.constant(inputs, tf.float32)))
        raw, shifts = np.split(outputs.astype(np.float64), 2, axis=1)
        return LOG_SCALE_BOUND * np.tanh(raw / LOG_SCALE_BOUND), shifts

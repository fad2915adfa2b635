"""A normalizing flow as a prior: RealNVP (Dinh, Sohl-Dickstein and Bengio, 2017)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from components.model.distributions import standard_normal_like
from components.model.priors.prior import Prior

# Largest absolute logarithm of the factor by which one coupling scales a latent. The density of
# latents far from all training examples then stays finite, and so do its gradients.
LOG_SCALE_BOUND = 2.0


class RealNVP(Prior):
    """A chain of affine couplings that maps latents z to u, which is standard normal.

    A coupling keeps one half of the latents and scales and shifts the other half, by amounts that a
    small network computes from the kept half. The halves take turns. Of an odd number of latents,
    the second half has one more. A single latent has no other half, so there is one coupling, of
    constant scale and shift: the prior is then a normal distribution of learned mean and variance.

    The flow begins as the identity, so the prior begins as N(0, I). The networks of a conditional
    prior p(z|y) see the condition y beside the kept half.

    Args:
      latents: number of latent dimensions.
      couplings: number of couplings.
      widths: widths of the hidden layers of each coupling's network.
      **kwargs: Keras's own arguments, such as `name`.
    """

    def __init__(
        self, latents: int, *, couplings: int = 4, widths: Sequence[int] = (128, 128), **kwargs: Any
    ):
        super().__init__(latents, **kwargs)
        self._half_sizes = (latents // 2, latents - latents // 2)
        self.conditioners = [
            _conditioner(
                # A single latent is conditioned on a constant.
                max(1, self._half_sizes[index % 2]) + self.conditions,
                self._half_sizes[1 - index % 2],
                widths,
                name=f"coupling_{index}",
            )
            for index in range(couplings if latents > 1 else 1)
        ]

    def log_prob(self, z: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        # log p(z) = log N(u(z); 0, I) + log |det du/dz|
        u, log_determinant = self.forward(z, condition)
        return standard_normal_like(u).log_prob(u) + log_determinant

    def sample(self, noise: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        """The latents [batch, latents] that the flow maps to the noise, of the same shape."""
        halves = tf.split(noise, self._half_sizes, axis=-1)
        for index, conditioner in reversed(list(enumerate(self.conditioners))):
            kept, moved = index % 2, 1 - index % 2
            log_scale, shift = self._log_scale_and_shift(
                conditioner, halves[kept], halves[moved], condition
            )
            halves[moved] = (halves[moved] - shift) * tf.exp(-log_scale)
        return tf.concat(halves, axis=-1)

    def forward(
        self, z: tf.Tensor, condition: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The flow u(z).

        Args:
          z: latents, shape [batch, latents].
          condition: as for `log_prob`.

        Returns:
          u, shape [batch, latents], and log |det du/dz|, in nats, shape [batch].
        """
        halves = tf.split(z, self._half_sizes, axis=-1)
        log_determinant = tf.zeros_like(z[:, 0])
        for index, conditioner in enumerate(self.conditioners):
            kept, moved = index % 2, 1 - index % 2
            log_scale, shift = self._log_scale_and_shift(
                conditioner, halves[kept], halves[moved], condition
            )
            halves[moved] = halves[moved] * tf.exp(log_scale) + shift
            # The Jacobian is triangular, and its diagonal is ones and the scales.
            log_determinant += tf.reduce_sum(log_scale, axis=-1)
        return tf.concat(halves, axis=-1), log_determinant

    def _log_scale_and_shift(
        self,
        conditioner: keras.Sequential,
        kept: tf.Tensor,
        moved: tf.Tensor,
        condition: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The log-scales and the shifts of a coupling for the half `moved`, each of its shape."""
        inputs = kept if self.latents > 1 else tf.ones_like(moved)
        if condition is not None:
            inputs = tf.concat([inputs, condition], axis=-1)
        raw, shift = tf.split(conditioner(inputs), 2, axis=-1)
        return LOG_SCALE_BOUND * tf.tanh(raw / LOG_SCALE_BOUND), shift


def _conditioner(
    num_inputs: int, num_outputs: int, widths: Sequence[int], *, name: str
) -> keras.Sequential:
    """The network of one coupling: [batch, num_inputs] -> [batch, 2 * num_outputs].

    The outputs are the unbounded log-scales, then the shifts. All are zero at first.
    """
    return keras.Sequential(
        [
            keras.Input((num_inputs,)),
            *(
                keras.layers.Dense(
                    width, "relu", kernel_initializer="lecun_normal", dtype="float32"
                )
                for width in widths
            ),
            keras.layers.Dense(2 * num_outputs, kernel_initializer="zeros", dtype="float32"),
        ],
        name=name,
    )

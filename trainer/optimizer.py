"""Optimizers as pure functions of tensors: (parameters, gradients, slots, step) -> new ones.

Keras's own cannot serve here: their update makes a merge call, which may stand neither in a loop
compiled by XLA nor in a nested function, and they clip and check gradients before the replicas'
sum. The update rules, and the defaults, are those of `keras.optimizers` (tested against them).
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

Tensors = list[tf.Tensor]


class Optimizer(Protocol):
    """An update rule."""

    @property
    def num_slots(self) -> int:
        """Slot tensors kept for each parameter."""

    def update(
        self, parameter: tf.Tensor, gradient: tf.Tensor, slots: Tensors, rate, step: tf.Tensor
    ) -> tuple[tf.Tensor, Tensors]:
        """The new parameter and slots after one step; `step` counts from 0."""


@dataclasses.dataclass(frozen=True)
class RMSprop:
    """Tieleman and Hinton, 2012."""

    decay: float = 0.9
    epsilon: float = 1e-7
    num_slots: int = 1

    def update(self, parameter, gradient, slots, rate, step):
        del step
        mean_square = self.decay * slots[0] + (1 - self.decay) * tf.square(gradient)
        change = rate * gradient * tf.math.rsqrt(mean_square + self.epsilon)
        return parameter - change, [mean_square]


@dataclasses.dataclass(frozen=True)
class Adam:
    """Kingma and Ba, 2015."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    num_slots: int = 2

    def update(self, parameter, gradient, slots, rate, step):
        count = tf.cast(step + 1, tf.float32)
        mean = self.beta_1 * slots[0] + (1 - self.beta_1) * gradient
        mean_square = self.beta_2 * slots[1] + (1 - self.beta_2) * tf.square(gradient)
        correction = tf.sqrt(1 - self.beta_2**count) / (1 - self.beta_1**count)
        change = rate * correction * mean / (tf.sqrt(mean_square) + self.epsilon)
        return parameter - change, [mean, mean_square]


OPTIMIZERS: dict[str, Optimizer] = {"rmsprop": RMSprop(), "adam": Adam()}


def all_finite(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Whether every element of every gradient is finite; a scalar."""
    # A sum is finite only if each of its terms is, and costs one pass.
    return tf.math.is_finite(tf.add_n([tf.reduce_sum(gradient) for gradient in gradients]))


def clip_by_global_norm(gradients: Tensors, norm: float) -> Tensors:
    """Gradients scaled down together so that their common norm is at most `norm`."""
    return list(tf.clip_by_global_norm(gradients, norm)[0])

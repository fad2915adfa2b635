"""Optimizers as pure functions of tensors: (parameters, gradients, slots, step) -> new ones.

Keras's own cannot serve here: their update makes a merge call, which may stand neither in a loop
compiled by XLA nor in a nested function, and they clip and check gradients before the replicas'
sum. The update rules, and the defaults, are those of `keras.optimizers` (tested against them).

An update costs memory traffic, not arithmetic: each is written so that XLA makes one pass of it
(LAMB's norms need one before), with all that is the same for every element in scalars.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import tensorflow as tf

from components.base.errors import ConfigError

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
        mean, mean_square = self._moments(gradient, slots)
        mass_1, mass_2 = self._masses(step)
        scale = rate * tf.sqrt(mass_2) / mass_1
        change = scale * mean / (tf.sqrt(mean_square) + self.epsilon)
        return parameter - change, [mean, mean_square]

    def _moments(self, gradient: tf.Tensor, slots: Tensors) -> Tensors:
        mean = self.beta_1 * slots[0] + (1 - self.beta_1) * gradient
        mean_square = self.beta_2 * slots[1] + (1 - self.beta_2) * tf.square(gradient)
        return [mean, mean_square]

    def _masses(self, step: tf.Tensor) -> Tensors:
        """What the weights of each moment's gradients add up to; divided by it, it is unbiased."""
        count = tf.cast(step + 1, tf.float32)
        return [1 - self.beta_1**count, 1 - self.beta_2**count]


@dataclasses.dataclass(frozen=True)
class LAMB(Adam):
    """You et al., 2020: Adam's direction, with a length in proportion to the parameter's own."""

    def update(self, parameter, gradient, slots, rate, step):
        mean, mean_square = self._moments(gradient, slots)
        mass_1, mass_2 = self._masses(step)
        # The quotient of the unbiased moments, above and below times the root of mass_2.
        root = tf.sqrt(mass_2)
        direction = root / mass_1 * mean / (tf.sqrt(mean_square) + self.epsilon * root)
        length, size = _norm(direction), _norm(parameter)
        # A parameter of zeros could not leave them in proportion to its size.
        trust = tf.where((size > 0) & (length > 0), size / length, 1.0)
        return parameter - trust * rate * direction, [mean, mean_square]


@dataclasses.dataclass(frozen=True)
class Lion:
    """Chen et al., 2023: the sign alone, so every element moves by the whole rate.

    The paper takes a 3 to 10 times smaller rate than Adam's, and as much more weight decay.
    """

    beta_1: float = 0.9
    beta_2: float = 0.99
    num_slots: int = 1

    def update(self, parameter, gradient, slots, rate, step):
        del step
        direction = tf.sign(self.beta_1 * slots[0] + (1 - self.beta_1) * gradient)
        mean = self.beta_2 * slots[0] + (1 - self.beta_2) * gradient
        return parameter - rate * direction, [mean]


@dataclasses.dataclass(frozen=True)
class Decayed:
    """A rule with decoupled weight decay: parameters shrink before the rule sees them.

    Kernels alone shrink, the parameters of rank 2 or more. It is their size that makes a network
    steep. A bias only shifts: the decoder's last ones hold the mean image, and drawn towards 0
    they would miss it, with nothing gained.

    Attributes:
      rule: the update that follows.
      weight_decay: share of a kernel taken away per step and unit of the learning rate.
    """

    rule: Optimizer
    weight_decay: float

    @property
    def num_slots(self) -> int:
        return self.rule.num_slots

    def update(self, parameter, gradient, slots, rate, step):
        if parameter.shape.rank >= 2:
            # Not times (1 - share): a small share would lose most of its digits beside the 1.
            parameter = parameter - (rate * self.weight_decay) * parameter
        return self.rule.update(parameter, gradient, slots, rate, step)


# AdamW is Adam with decoupled decay (Loshchilov and Hutter, 2019).
DECAYING: dict[str, Callable[[], Optimizer]] = {"adamw": Adam, "lamb": LAMB, "lion": Lion}
OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {"adam": Adam, "rmsprop": RMSprop, **DECAYING}


def create(name: str, *, weight_decay: float) -> Optimizer:
    """The optimizer of a name in `OPTIMIZERS`.

    Raises:
      ConfigError: it has no weight decay, and some is asked for.
    """
    rule = OPTIMIZERS[name]()
    if not weight_decay:
        return rule
    if name not in DECAYING:
        raise ConfigError(
            f"optimizer {name} has no weight decay; use {', '.join(DECAYING)}, or weight_decay 0. "
            f"Received: weight_decay={weight_decay}"
        )
    return Decayed(rule, weight_decay)


def averaged(
    averages: Sequence[tf.Tensor], weights: Sequence[tf.Tensor], *, decay: float, step: tf.Tensor
) -> Tensors:
    """Exponential moving averages of the weights (Polyak and Juditsky, 1992), one step on.

    The decay is min(decay, (1 + step) / (10 + step)), as in `tf.train.ExponentialMovingAverage`:
    a short memory at first, so that the start is soon forgotten.

    Args:
      averages: so far; at first the initial weights.
      weights: after the step.
      decay: share of the old average that is kept, 0 to 1.
      step: counts from 0.
    """
    # One minus the decay above: of two numbers near 1 the difference would be inexact.
    share = tf.maximum(1.0 - decay, 9.0 / (10.0 + tf.cast(step, tf.float32)))
    return [old + share * (new - old) for old, new in zip(averages, weights, strict=True)]


def all_finite(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Whether every element of every gradient is finite; a scalar."""
    # A sum is finite only if each of its terms is, and costs one pass.
    return tf.math.is_finite(tf.add_n([tf.reduce_sum(gradient) for gradient in gradients]))


def clip_by_global_norm(gradients: Tensors, norm: float) -> Tensors:
    """Gradients scaled down together so that their common norm is at most `norm`."""
    common = tf.norm(tf.stack([_norm(gradient) for gradient in gradients]))
    return list(tf.clip_by_global_norm(gradients, norm, use_norm=common)[0])


def _norm(tensor: tf.Tensor) -> tf.Tensor:
    """The Euclidean norm of all elements; a scalar."""
    # By columns first: XLA's CPU code for one sum over everything uses no vector instructions,
    # and LAMB with it took twice the time.
    return tf.norm(tf.norm(tf.reshape(tensor, [-1, tensor.shape[-1]]), axis=0))

"""Optimizers as pure functions of tensors: (parameter, gradient, slots, step) -> new values.

Keras's optimizers cannot be used here. Their update calls `merge_call`, which is not allowed in a
loop compiled by XLA or in a nested function, and they clip and check gradients before the sum over
replicas. The update rules and their defaults are those of `keras.optimizers`; the tests compare the
two.

The cost of an update is memory traffic, not arithmetic. Each rule is written so that XLA fuses it
into one pass over the parameter (LAMB needs one more for its norms): factors that are the same for
every element are combined into a scalar first.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

Tensors = list[tf.Tensor]


class Optimizer(Protocol):
    """An update rule for one parameter, such as a kernel or a bias."""

    def num_slots(self, shape: Sequence[int]) -> int:
        """Number of slots of a parameter: tensors of its shape, kept from one step to the next."""

    def update(
        self, parameter: tf.Tensor, gradient: tf.Tensor, slots: Tensors, rate, step: tf.Tensor
    ) -> tuple[tf.Tensor, Tensors]:
        """Returns the parameter and its slots after one step.

        Args:
          parameter: value before the step.
          gradient: gradient of the loss, of the same shape.
          slots: `num_slots` tensors of the same shape, zeros before the first step.
          rate: learning rate of the step.
          step: number of the step, counted from 0.
        """


@dataclasses.dataclass(frozen=True)
class RMSprop:
    """RMSprop (Tieleman and Hinton, 2012). Slot: the mean square of the gradient."""

    decay: float = 0.9
    epsilon: float = 1e-7

    def num_slots(self, shape: Sequence[int]) -> int:
        return 1

    def update(self, parameter, gradient, slots, rate, step):
        del step
        mean_square = self.decay * slots[0] + (1 - self.decay) * tf.square(gradient)
        change = rate * gradient * tf.math.rsqrt(mean_square + self.epsilon)
        return parameter - change, [mean_square]


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015). Slots: the mean and the mean square of the gradient.

    With `WeightDecay` it is AdamW (Loshchilov and Hutter, 2019).
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    def num_slots(self, shape: Sequence[int]) -> int:
        return 2

    def update(self, parameter, gradient, slots, rate, step):
        mean, mean_square = self._moments(gradient, slots)
        correction_1, correction_2 = self._bias_corrections(step)
        # The corrections are scalars: applied to the rate, they cost no pass over the moments.
        scale = rate * tf.sqrt(correction_2) / correction_1
        change = scale * mean / (tf.sqrt(mean_square) + self.epsilon)
        return parameter - change, [mean, mean_square]

    def _moments(self, gradient: tf.Tensor, slots: Tensors) -> Tensors:
        mean = self.beta_1 * slots[0] + (1 - self.beta_1) * gradient
        mean_square = self.beta_2 * slots[1] + (1 - self.beta_2) * tf.square(gradient)
        return [mean, mean_square]

    def _bias_corrections(self, step: tf.Tensor) -> Tensors:
        """The divisors that make the two moments unbiased, although they start from 0."""
        count = tf.cast(step + 1, tf.float32)
        return [1 - self.beta_1**count, 1 - self.beta_2**count]


@dataclasses.dataclass(frozen=True)
class LAMB(Adam):
    """LAMB (You et al., 2020): Adam's direction, with a length proportional to the parameter's."""

    def update(self, parameter, gradient, slots, rate, step):
        mean, mean_square = self._moments(gradient, slots)
        correction_1, correction_2 = self._bias_corrections(step)
        # The quotient of the unbiased moments, with numerator and denominator multiplied by the
        # root of the second correction, so that the corrections remain scalars.
        root = tf.sqrt(correction_2)
        direction = root / correction_1 * mean / (tf.sqrt(mean_square) + self.epsilon * root)
        direction_norm, parameter_norm = _norm(direction), _norm(parameter)
        # Without the exception, a parameter of zeros would remain zero forever.
        has_norms = (parameter_norm > 0) & (direction_norm > 0)
        trust_ratio = tf.where(has_norms, parameter_norm / direction_norm, 1.0)
        return parameter - trust_ratio * rate * direction, [mean, mean_square]


@dataclasses.dataclass(frozen=True)
class Lion:
    """Lion (Chen et al., 2023): every element moves by the learning rate, up or down.

    The paper recommends a learning rate 3 to 10 times smaller than Adam's, and a weight decay
    larger by the same factor. Slot: the mean of the gradient.
    """

    beta_1: float = 0.9
    beta_2: float = 0.99

    def num_slots(self, shape: Sequence[int]) -> int:
        return 1

    def update(self, parameter, gradient, slots, rate, step):
        del step
        direction = tf.sign(self.beta_1 * slots[0] + (1 - self.beta_1) * gradient)
        mean = self.beta_2 * slots[0] + (1 - self.beta_2) * gradient
        return parameter - rate * direction, [mean]


@dataclasses.dataclass(frozen=True)
class WeightDecay:
    """A rule with decoupled weight decay: kernels shrink before the rule is applied.

    Only kernels decay, that is, parameters of rank 2 or more: large kernels make the output change
    sharply with the input. A bias only shifts its layer's output. The decoder's last bias holds
    the mean image, and pulling it towards 0 would gain nothing.

    Attributes:
      rule: the update rule, applied after the decay.
      weight_decay: fraction of a kernel that is subtracted per step and unit of learning rate.
    """

    rule: Optimizer
    weight_decay: float

    def num_slots(self, shape: Sequence[int]) -> int:
        return self.rule.num_slots(shape)

    def update(self, parameter, gradient, slots, rate, step):
        if parameter.shape.rank >= 2:
            # Not `parameter * (1 - rate * weight_decay)`: 1 minus a small number loses most of the
            # small number's digits.
            parameter = parameter - (rate * self.weight_decay) * parameter
        return self.rule.update(parameter, gradient, slots, rate, step)


def update_averages(
    averages: Sequence[tf.Tensor], weights: Sequence[tf.Tensor], *, decay: float, step: tf.Tensor
) -> Tensors:
    """Updates exponential moving averages of the weights (Polyak and Juditsky, 1992) by a step.

    As in `tf.train.ExponentialMovingAverage`, the decay of a step is at most
    (1 + step) / (10 + step). The memory is short at first, so the initial weights are soon
    forgotten.

    Args:
      averages: averages before the step; at first the initial weights.
      weights: weights after the step.
      decay: fraction of the old average that is kept, from 0 to 1.
      step: number of the step, counted from 0.
    """
    # One minus min(decay, (1 + step) / (10 + step)), without the difference of two numbers near 1.
    share = tf.maximum(1.0 - decay, 9.0 / (10.0 + tf.cast(step, tf.float32)))
    return [old + share * (new - old) for old, new in zip(averages, weights, strict=True)]


def all_finite(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Whether every element of every gradient is finite; a scalar."""
    # A sum is finite only if all its terms are, and it takes one pass.
    return tf.math.is_finite(tf.add_n([tf.reduce_sum(gradient) for gradient in gradients]))


def clip_by_global_norm(gradients: Tensors, norm: float) -> Tensors:
    """Scales all gradients by one factor so that their global norm is at most `norm`."""
    global_norm = tf.norm(tf.stack([_norm(gradient) for gradient in gradients]))
    return list(tf.clip_by_global_norm(gradients, norm, use_norm=global_norm)[0])


def _norm(tensor: tf.Tensor) -> tf.Tensor:
    """The Euclidean norm over all elements; a scalar."""
    # First along the columns: XLA's CPU code for a single sum over all elements is not vectorized,
    # which doubled LAMB's time.
    return tf.norm(tf.norm(tf.reshape(tensor, [-1, tensor.shape[-1]]), axis=0))

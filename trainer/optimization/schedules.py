"""Schedules over a run: of the learning rate, and of beta, the weight of the rate in the loss.

"Rate" means two things in this project: the learning rate of the optimizer, and the rate
KL(q(z|x) || p(z)) of the VAE. Beta is the weight of the latter.
"""

import abc
import dataclasses
import math

import tensorflow as tf

from components.base import console
from components.base.errors import ConfigError

# One-cycle: the fraction of the run in which the rate rises, and the divisors of the largest rate
# that give the first and the last one. The values are those of PyTorch's OneCycleLR.
_RISING_FRACTION = 0.3
_FIRST_DIVISOR = 25.0
_LAST_DIVISOR = 25.0 * 1e4

# The fraction of a cycle in which beta rises.
_CYCLE_RISING_FRACTION = 0.5


class Schedule(abc.ABC):
    """A number for every step of a run.

    Attributes:
      description: the schedule in a few words, for `--dry_run`.
    """

    @property
    @abc.abstractmethod
    def description(self) -> str: ...

    @abc.abstractmethod
    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The value at a step, counted from 0; a float32 scalar."""


@dataclasses.dataclass(frozen=True)
class LearningRate(Schedule):
    """A learning rate: a curve over the run, multiplied by a linear warm-up from 0.

    Attributes:
      peak: the largest learning rate.
      total_steps: number of steps of the run.
      warmup_steps: number of steps of the warm-up; 0 for none. Adaptive optimizers divide by
        moments that are averages of very few gradients at first; the warm-up keeps these updates
        small (Goyal et al., 2017).
    """

    peak: float
    total_steps: int
    warmup_steps: int = 0

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        steps = tf.cast(step, tf.float32)
        warmup = tf.minimum(1.0, (steps + 1.0) / max(self.warmup_steps, 1))
        return self.peak * warmup * self._curve(steps / self.total_steps)

    @property
    def description(self) -> str:
        steps = console.counted(self.warmup_steps, "step")
        warmup = f"rises from 0 over {steps}, then " if self.warmup_steps else ""
        return f"{self.peak:g}: {warmup}{self._curve_description}"

    @property
    @abc.abstractmethod
    def _curve_description(self) -> str: ...

    @abc.abstractmethod
    def _curve(self, progress: tf.Tensor) -> tf.Tensor:
        """The fraction of the peak rate, given the fraction of the run that is over."""


class ConstantRate(LearningRate):
    """The peak rate throughout."""

    _curve_description = "constant"

    def _curve(self, progress: tf.Tensor) -> tf.Tensor:
        return tf.ones_like(progress)


class CosineRate(LearningRate):
    """From the peak rate to 0 along half a cosine (Loshchilov and Hutter, 2017)."""

    _curve_description = "falls along half a cosine to 0"

    def _curve(self, progress: tf.Tensor) -> tf.Tensor:
        return 0.5 * (1.0 + tf.cos(math.pi * progress))


class OneCycleRate(LearningRate):
    """Up to the peak rate and down again (Smith and Topin, 2018).

    During the first 30 % of the run the rate rises along half a cosine from 1/25 of the peak to the
    peak. Then it falls along another to 1/250,000 of the peak. It needs no further warm-up.
    """

    _curve_description = "one cycle, rising over the first 30 % of the run and then falling"

    def _curve(self, progress: tf.Tensor) -> tf.Tensor:
        is_rising = progress < _RISING_FRACTION
        lowest = tf.where(is_rising, 1 / _FIRST_DIVISOR, 1 / _LAST_DIVISOR)
        # From 0 at either end of the run to 1 at the peak.
        nearness = tf.minimum(
            progress / _RISING_FRACTION, (1.0 - progress) / (1.0 - _RISING_FRACTION)
        )
        # sin²(πx/2) equals (1 - cos πx) / 2, but keeps its digits near 0, at the end of the run.
        return lowest + (1.0 - lowest) * tf.square(tf.sin(0.5 * math.pi * nearness))


@dataclasses.dataclass(frozen=True)
class BetaSchedule(Schedule):
    """Beta over a run: the loss is distortion + beta * rate.

    Attributes:
      beta: the largest value.
      total_steps: number of steps of the run.
      warmup_steps: number of steps in which beta rises, for the schedule that rises once.
      cycles: number of cycles, for the schedule that has them.
    """

    beta: float
    total_steps: int
    warmup_steps: int = 0
    cycles: int = 1


class ConstantBeta(BetaSchedule):
    """The same beta throughout."""

    @property
    def description(self) -> str:
        return f"{self.beta:g}"

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        return self.beta * tf.ones_like(step, tf.float32)


class LinearBeta(BetaSchedule):
    """From 0 in a straight line to beta, then constant (Bowman et al., 2016).

    The decoder learns to use the latents before it has to pay for their rate.
    """

    @property
    def description(self) -> str:
        steps = f"{self.warmup_steps:,} of {self.total_steps:,} steps"
        return f"{self.beta:g}, rising from 0 over {steps}"

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        steps = tf.cast(step, tf.float32)
        progress = steps / self.warmup_steps if self.warmup_steps else tf.ones_like(steps)
        return self.beta * tf.minimum(1.0, progress)


@dataclasses.dataclass(frozen=True)
class CyclicalBeta(BetaSchedule):
    """The linear schedule, repeated in cycles of equal length (Fu et al., 2019).

    The length of a cycle need not be a whole number of steps.

    Raises:
      ConfigError: the cycles are so short that beta would always be 0.
    """

    def __post_init__(self) -> None:
        if self.total_steps < 2 * self.cycles:
            raise ConfigError(
                f"beta_cycles={self.cycles} over {self.total_steps} steps, but a cycle needs at "
                "least 2 steps; use fewer cycles, more epochs or beta_schedule linear"
            )

    @property
    def description(self) -> str:
        return f"{self.beta:g}, rising from 0 over the first half of each of {self.cycles:,} cycles"

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        # In integers: rounding could take the first step of a cycle for the last of the one before.
        position = tf.cast(step, tf.int64) * self.cycles % self.total_steps
        progress = tf.cast(position, tf.float32) / self.total_steps
        return self.beta * tf.minimum(1.0, progress / _CYCLE_RISING_FRACTION)

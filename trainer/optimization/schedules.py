"""Schedules, functions of the step: of the learning rate, and of the rate's weight in the loss."""

import math
from collections.abc import Callable

import tensorflow as tf

from components.base.errors import ConfigError

Schedule = Callable[[tf.Tensor], tf.Tensor]

# Of one-cycle: the share of the run that rises, and by what the first and last rates are smaller.
_RISING = 0.3
_FIRST_DIVISOR = 25.0
_LAST_DIVISOR = 25.0 * 1e4

# The share of a cycle over which beta rises.
_BETA_RISING = 0.5


def constant(done: tf.Tensor) -> tf.Tensor:
    """The full rate throughout. `done` is the share of the run that is done, 0 to 1."""
    return tf.ones_like(done)


def cosine(done: tf.Tensor) -> tf.Tensor:
    """From the full rate to 0 along half a cosine (Loshchilov and Hutter, 2017)."""
    return 0.5 * (1.0 + tf.cos(math.pi * done))


def one_cycle(done: tf.Tensor) -> tf.Tensor:
    """Up to the full rate and down again (Smith and Topin, 2018).

    Over the first 30 % of the run from 1/25 of the rate to the rate along half a cosine, then to
    1/25/10^4 of it along another; the numbers are those of PyTorch's OneCycleLR. It has its own
    rise, and wants no warm-up.
    """
    lowest = tf.where(done < _RISING, 1 / _FIRST_DIVISOR, 1 / _LAST_DIVISOR)
    nearness = tf.minimum(done / _RISING, (1.0 - done) / (1.0 - _RISING))
    # sin²(πx/2) is ½ (1 - cos πx), without the difference that loses the small values of the end.
    return lowest + (1.0 - lowest) * tf.square(tf.sin(0.5 * math.pi * nearness))


SHAPES: dict[str, Schedule] = {"constant": constant, "cosine": cosine, "one_cycle": one_cycle}


def schedule(shape: str, *, rate: float, total_steps: int, warmup_steps: int) -> Schedule:
    """The learning rate by step: `rate` times a shape, after a linear rise from 0.

    Args:
      shape: a key of `SHAPES`.
      rate: the largest learning rate.
      total_steps: length of the run.
      warmup_steps: length of the rise; 0 for none. It keeps the first updates, whose moments are
        averages of few gradients, from throwing the weights about.
    """

    def at(step: tf.Tensor) -> tf.Tensor:
        steps = tf.cast(step, tf.float32)
        risen = tf.minimum(1.0, (steps + 1.0) / max(warmup_steps, 1))
        return rate * risen * SHAPES[shape](steps / total_steps)

    return at


def constant_beta(step: tf.Tensor, total_steps: int, cycles: int) -> tf.Tensor:
    """The full weight throughout."""
    del total_steps, cycles
    return tf.ones_like(step, tf.float32)


def linear_beta(step: tf.Tensor, total_steps: int, cycles: int) -> tf.Tensor:
    """From 0 in a straight line to the full weight at half the run, and then there.

    Without the rate's weight at first, the decoder learns to use the latents before it pays for
    them (Bowman et al., 2016).
    """
    del cycles
    return cyclical_beta(step, total_steps, cycles=1)


def cyclical_beta(step: tf.Tensor, total_steps: int, cycles: int) -> tf.Tensor:
    """As `linear_beta`, `cycles` times over (Fu et al., 2019)."""
    # In whole numbers: rounded, the first step of a cycle might be taken for the last of another.
    done = tf.cast(tf.cast(step, tf.int64) * cycles % total_steps, tf.float32) / total_steps
    return tf.minimum(1.0, done / _BETA_RISING)


BETA_SHAPES: dict[str, Callable[[tf.Tensor, int, int], tf.Tensor]] = {
    "constant": constant_beta,
    "linear": linear_beta,
    "cyclical": cyclical_beta,
}


def beta_schedule(shape: str, *, beta: float, total_steps: int, cycles: int) -> Schedule:
    """The weight of the rate by step: `beta` times a shape; the loss is distortion + it * rate.

    Args:
      shape: a key of `BETA_SHAPES`.
      beta: the largest weight.
      total_steps: length of the run.
      cycles: of the cyclical shape, how many of equal length the run has; they need not be of
        whole steps.

    Raises:
      ConfigError: cycles so short that beta would stay at 0.
    """
    if shape == "cyclical" and total_steps < 2 * cycles:
        raise ConfigError(
            f"beta_cycles={cycles} over {total_steps} steps, but a cycle needs at least 2; "
            "use fewer cycles, more epochs or beta_schedule linear"
        )

    def at(step: tf.Tensor) -> tf.Tensor:
        return beta * BETA_SHAPES[shape](step, total_steps, cycles)

    return at

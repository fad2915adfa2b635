"""Learning-rate schedules: functions of the step."""

import math
from collections.abc import Callable

import tensorflow as tf

Schedule = Callable[[tf.Tensor], tf.Tensor]


def constant(done: tf.Tensor) -> tf.Tensor:
    """The full rate throughout. `done` is the share of the run that is done, 0 to 1."""
    return tf.ones_like(done)


def cosine(done: tf.Tensor) -> tf.Tensor:
    """From the full rate to 0 along half a cosine (Loshchilov and Hutter, 2017)."""
    return 0.5 * (1.0 + tf.cos(math.pi * done))


SHAPES = {"constant": constant, "cosine": cosine}


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

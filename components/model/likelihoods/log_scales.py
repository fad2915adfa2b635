"""Log-scales of likelihoods, bounded smoothly."""

import math

import tensorflow as tf


def bounded(outputs: tf.Tensor, *, start: float, low: float, high: float) -> tf.Tensor:
    """Log-scales in (low, high) of a decoder's outputs, of the same shape.

    An output of 0 gives `start`. The derivative is 1 there, and positive everywhere as far as
    float32 resolves it, so a scale near a bound can move away. Clipping has no gradient outside the
    bounds, so a clipped scale could not.
    """
    limit = tf.where(outputs > 0, high - start, start - low)
    return start + limit * tf.tanh(outputs / limit)


def output_of(log_scale: float, *, start: float, low: float, high: float) -> float:
    """The output whose bounded log-scale is `log_scale`, between `low` and `high`."""
    limit = high - start if log_scale > start else start - low
    return limit * math.atanh((log_scale - start) / limit)

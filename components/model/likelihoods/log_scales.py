"""Log-scales of likelihoods, bounded smoothly."""

import tensorflow as tf


def bounded(outputs: tf.Tensor, *, start: float, low: float, high: float) -> tf.Tensor:
    """Log-scales in (low, high) of a decoder's outputs, of the same shape.

    An output of 0 gives `start`. The derivative is 1 there and is never 0 where float32 can tell,
    so a scale at a bound can leave it; after a clip, which has no gradient outside the bounds, it
    could not.
    """
    limit = tf.where(outputs > 0, high - start, start - low)
    return start + limit * tf.tanh(outputs / limit)

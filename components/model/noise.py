"""Standard normal noise of training as a pure function of (seed, step).

Evaluation draws its own: see `components.metrics.likelihood`.

`tf.random.stateless_normal` gives different numbers with XLA than without, so the noise would
depend on the device and on the network. The random bits are the same in both, so this module takes
the bits and applies the normal distribution's quantile function to them.
"""

import math

import tensorflow as tf

# Random bits per number. The midpoints below are odd multiples of 2^-23 in (-1, 1), which a
# float32 with its 24-bit significand represents exactly.
_BITS = 23


def standard_normal(shape: tuple[int, ...], *, seed: int, step: tf.Tensor) -> tf.Tensor:
    """Independent standard normal draws, float32.

    Args:
      shape: shape of the result.
      seed: seed of the run, under 2^63.
      step: number of the training step, an int64 scalar.
    """
    bits = tf.random.stateless_uniform(
        shape,
        seed=tf.stack([tf.constant(seed, tf.int64), step]),
        minval=None,
        maxval=None,
        dtype=tf.uint32,
        alg="philox",
    )
    # An integer k, uniform in [0, 2^23).
    integers = tf.cast(tf.bitwise.right_shift(bits, tf.constant(32 - _BITS, tf.uint32)), tf.int32)
    # u = (2k + 1) / 2^23 - 1 is the midpoint of one of 2^23 equal parts of (-1, 1). It is never
    # -1 or 1, where the quantile function is infinite.
    uniform = tf.cast(2 * integers + 1 - 2**_BITS, tf.float32) / 2**_BITS
    # The normal quantile function: Φ⁻¹((1 + u) / 2) = √2 erf⁻¹(u)
    return math.sqrt(2) * tf.math.erfinv(uniform)

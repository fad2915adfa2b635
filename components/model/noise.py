"""Noise as a pure function of (seed, step).

`tf.random.stateless_normal` gives other numbers compiled by XLA than it does otherwise, and so
would make the noise depend on the device and the network. The generator's bits are the same in
both, so the normal distribution's quantile function is applied to these here.
"""

import math

import tensorflow as tf

# float32 holds this many bits of a uniform number, its sign included, without rounding.
_BITS = 23


def standard_normal(shape: tuple[int, ...], *, seed: int, step: tf.Tensor) -> tf.Tensor:
    """Standard normal float32 of `shape`, for a scalar int64 `step`."""
    bits = tf.random.stateless_uniform(
        shape,
        seed=tf.stack([tf.constant(seed, tf.int64), step]),
        minval=None,
        maxval=None,
        dtype=tf.uint32,
        alg="philox",
    )
    whole = tf.cast(tf.bitwise.right_shift(bits, tf.constant(32 - _BITS, tf.uint32)), tf.int32)
    # The middles of 2^23 equal parts of (-1, 1): never the ends, where the quantile is infinite.
    uniform = tf.cast(2 * whole + 1 - 2**_BITS, tf.float32) / 2**_BITS
    return math.sqrt(2) * tf.math.erfinv(uniform)

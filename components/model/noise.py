"""The random numbers of training as pure functions of (seed, step), and those of evaluation sets.

Evaluation draws its latents itself: see `components.metrics.elbo`.

`tf.random.stateless_normal` gives different numbers with XLA than without, so the noise would
depend on the device and on the network. The random bits are the same in both, so this module takes
the bits and applies the normal distribution's quantile function to them.
"""

import math

import numpy as np
import tensorflow as tf

from components.base.arithmetic import ceil_div
from components.model.distributions import normal_quantiles

# Random bits per number. The midpoints below are odd multiples of 2^-24 in (0, 1), which a float32
# with its 24-bit significand represents exactly.
_BITS = 23

# A seed of a run is below 2^32, so a stream's number fits above it.
_SEED_BITS = 32

# The seed with which the published results on dynamically binarized images draw the pixels of the
# validation and test sets.
EVALUATION_SEED = 777

# A Philox generator makes four numbers of 64 bits at a time, and can skip to any four.
_NUMBERS_PER_SKIP = 4


def uniform(shape: tuple[int, ...], *, seed: int, step: tf.Tensor, stream: int = 0) -> tf.Tensor:
    """Independent draws that are uniform in (0, 1), float32; never 0 or 1.

    Args:
      shape: shape of the result.
      seed: seed of the run, under 2^32.
      step: number of the training step, an int64 scalar.
      stream: number of the use, under 2^31. Streams are independent of each other: one (seed, step)
        must not give two uses the same numbers.
    """
    bits = tf.random.stateless_uniform(
        shape,
        seed=tf.stack([tf.constant(seed + (stream << _SEED_BITS), tf.int64), step]),
        minval=None,
        maxval=None,
        dtype=tf.uint32,
        alg="philox",
    )
    # An integer k, uniform in [0, 2^23).
    integers = tf.cast(tf.bitwise.right_shift(bits, tf.constant(32 - _BITS, tf.uint32)), tf.int32)
    # (2k + 1) / 2^24 is the midpoint of one of 2^23 equal parts of (0, 1).
    return tf.cast(2 * integers + 1, tf.float32) / 2 ** (_BITS + 1)


def standard_normal(
    shape: tuple[int, ...], *, seed: int, step: tf.Tensor, stream: int = 0
) -> tf.Tensor:
    """Independent standard normal draws, float32; the arguments are those of `uniform`."""
    # 2u - 1 is exact in float32 and never -1 or 1, where the quantile function is infinite.
    return normal_quantiles(uniform(shape, seed=seed, step=step, stream=stream))


def binarize_for_evaluation(
    pixels: np.ndarray, *, first: int = 0, seed: int = EVALUATION_SEED
) -> np.ndarray:
    """The fixed binarization of images of an evaluation set, float32 of 0 and 1.

    A pixel is 1 with its intensity as the probability: its threshold is random.

    Args:
      pixels: consecutive images of a set, uint8, shape [N, height, width, channels].
      first: number of the first of them in the set.
      seed: seed of the draws.
    """
    return (pixels > evaluation_thresholds(pixels.shape, first=first, seed=seed)).astype(np.float32)


def evaluation_thresholds(
    shape: tuple[int, ...], *, first: int = 0, seed: int = EVALUATION_SEED
) -> np.ndarray:
    """The levels above which a pixel of an evaluation set becomes 1, uint8 from 0 to 254.

    The draws of an image depend only on the seed, on the image's number and on its size, so a set
    gives the same pixels in any batches.

    Args:
      shape: shape of consecutive images of a set, [N, height, width, channels].
      first: number of the first of them in the set.
      seed: seed of the draws.
    """
    draws = evaluation_draws(shape[0], math.prod(shape[1:]), first=first, seed=seed)
    draws = draws.reshape(shape)
    # u < k / 255 with u uniform in [0, 1): never for k = 0, always for k = 255. For a whole number
    # k, 255 u < k is the same as floor(255 u) < k.
    return (draws * 255).astype(np.uint8)


def evaluation_draws(
    count: int, size: int, *, first: int = 0, seed: int = EVALUATION_SEED
) -> np.ndarray:
    """Uniform draws for images of an evaluation set, in [0, 1), float64, shape [count, size].

    Args:
      count: number of consecutive images of the set.
      size: number of draws for each.
      first: number of the first of them in the set.
      seed: seed of the draws.
    """
    skips = ceil_div(size, _NUMBERS_PER_SKIP)
    bits = np.random.Philox(key=seed).advance(first * skips)
    # NumPy guarantees that `RandomState`, unlike `Generator`, computes the same draws of the same
    # bits in all of its versions.
    draws = np.random.RandomState(bits).random_sample((count, skips * _NUMBERS_PER_SKIP))
    return draws[:, :size]

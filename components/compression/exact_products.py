"""Matrix products whose result does not depend on the order of their sums.

The order in which a library adds, and so the last bits of a product, change with its version, its
number of threads, the processor and the shape. Here both factors are multiples of powers of 2, so
coarse that float64 holds every partial sum exactly: any order gives the same bits.
"""

import math

import numpy as np

# Activations are multiples of 2^-16 below 2^8 in absolute value, as integers of 24 bits.
_FRACTION_BITS, _ACTIVATION_BITS = 16, 24
_MANTISSA_BITS = 53
_SCALE = float(1 << _FRACTION_BITS)
_LARGEST = float((1 << _ACTIVATION_BITS) - 1)


def rounded(activations: np.ndarray) -> np.ndarray:
    """Activations as the integers that `ExactMatrix.product` takes, float64 of the same shape."""
    scaled = activations * _SCALE
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -_LARGEST, _LARGEST, out=scaled)


class ExactMatrix:
    """A matrix of weights, rounded so that products are exact.

    Args:
      weights: float, shape [inputs, outputs].

    Attributes:
      weights: integers times a power of 2, which also undoes the scale of the activations; float64
        [inputs, outputs].
    """

    def __init__(self, weights: np.ndarray):
        largest = float(np.abs(weights).max(initial=0.0))
        exponent = math.frexp(largest)[1]  # The weights are below 2^exponent.
        sum_bits = math.ceil(math.log2(max(1, len(weights))))
        weight_bits = _MANTISSA_BITS - 1 - _ACTIVATION_BITS - sum_bits
        shift = weight_bits - exponent
        integers = np.rint(np.ldexp(weights.astype(np.float64), shift))
        # A factor that is a power of 2 loses no bits, and need not be applied to each product.
        self.weights = np.ldexp(integers, -shift - _FRACTION_BITS)

    def product(self, activations: np.ndarray) -> np.ndarray:
        """The products of activations [..., inputs], as `rounded` gives them; [..., outputs]."""
        return activations @ self.weights

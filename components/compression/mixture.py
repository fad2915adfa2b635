"""The intervals of pixels under a mixture of discretized logistics, for the entropy coder.

Parameters and formulas are those of `components.model.likelihoods.logistic_mixture`, computed in
float64. IEEE 754 fixes all operations to the last bit, except for the exponential function and the
hyperbolic tangent; their last bits are lost when weights and table indices become integers.
"""

import numpy as np

from components.compression import quantized_cdf
from components.compression.quantized_cdf import LOGISTIC, TOTAL

LEVELS = 256
_STEP = 1 / (LEVELS - 1)
_LOG_SCALE_START, _LOG_SCALE_LOW, _LOG_SCALE_HIGH = -2.5, -8.0, 0.0
# The resolution of the table. No mass is 0, so one channel never rules out a component.
_LEAST_MASS = 1 / TOTAL
# Locations, in units of the table, are cut off where they are beyond it for every level.
_FARTHEST = 2.0**40


class PixelMixture:
    """The mixtures of N pixels, whose channels are coded in turn.

    Args:
      outputs: as `LogisticMixtureFamily` describes them, float64 [N, outputs].
      components: number of logistic components, K.
      channels: number of channels of a pixel, C.
    """

    def __init__(self, outputs: np.ndarray, components: int, channels: int):
        # The pixels last, so that the values for all pixels are contiguous in memory.
        by_output = np.ascontiguousarray(outputs.T)

        def block(number: int) -> np.ndarray:
            first = components + 1 + number * components
            return by_output[first : first + components]

        logits = by_output[: components + 1]
        weights = np.exp(logits - logits.max(axis=0))
        self._weights = weights / weights.sum(axis=0)
        self._spread = ((np.arange(components) + 0.5) / components)[:, np.newaxis]
        self._means = [block(channel) for channel in range(channels)]
        self._inverses = [
            np.exp(-_bounded(block(channels + channel))) for channel in range(channels)
        ]
        self._coefficients = iter(
            block(2 * channels + number) for number in range(channels * (channels - 1) // 2)
        )
        self._earlier: list[np.ndarray] = []
        self._start_channel()

    def below(self, levels: np.ndarray) -> np.ndarray:
        """The cumulative counts of levels from 0 to 256 of the current channel, int64 [N]."""
        return quantized_cdf.cumulative(self._mass(levels), levels, LEVELS)

    def interval(self, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The starts and the sizes of the intervals of levels [N], each int64 [N]."""
        starts = self.below(levels)
        return starts, self.below(levels + 1) - starts

    def find(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The levels whose intervals hold positions [N], their starts and their sizes."""

        def below(levels: np.ndarray) -> np.ndarray:
            return quantized_cdf.inner_counts(self._mass(levels), levels, LEVELS)

        return quantized_cdf.find(below, LEVELS, positions)

    def condition(self, levels: np.ndarray) -> None:
        """Moves on to the next channel, given the levels [N] of the current one."""
        lower = np.where(levels == 0, 0, self._logistics(levels))
        upper = np.where(levels == LEVELS - 1, TOTAL, self._logistics(levels + 1))
        masses = np.maximum((upper - lower) / TOTAL, _LEAST_MASS)
        is_black = (levels == 0)[np.newaxis].astype(np.float64)
        weights = self._weights * np.concatenate([masses, is_black])
        self._weights = weights / weights.sum(axis=0)
        self._earlier.append(levels * _STEP)
        self._start_channel()

    def _start_channel(self) -> None:
        channel = len(self._earlier)
        location = self._means[channel] + self._spread
        for value in self._earlier:
            location += np.tanh(next(self._coefficients)) * (value - 0.5)
        # A level starts half a step below its intensity. Its place in the table is linear in it.
        scale = self._inverses[channel] * LOGISTIC.resolution
        self._slope = scale * _STEP
        location += 0.5 * _STEP
        first = LOGISTIC.middle - location * scale
        self._first = np.clip(first, -_FARTHEST, _FARTHEST)
        # Rounded down, and a little less, so that their sum is at most 2^PRECISION.
        self._integers = np.floor(self._weights * (TOTAL - len(self._spread) - 1))

    def _mass(self, levels: np.ndarray) -> np.ndarray:
        """The mass below levels [N], times 2^PRECISION; integers as float64 [N]."""
        masses = self._logistics(levels)
        # A sum of products with weights of PRECISION bits, and black, which is level 0.
        total = np.einsum("kn,kn->n", masses, self._integers[:-1])
        total *= 1 / TOTAL
        return np.floor(total, out=total) + self._integers[-1]

    def _logistics(self, levels: np.ndarray) -> np.ndarray:
        """The mass of each component below levels [N], times 2^PRECISION; as float64 [K, N]."""
        places = levels * self._slope
        places += self._first
        return LOGISTIC.at(places)


def _bounded(outputs: np.ndarray) -> np.ndarray:
    """The log-scales of outputs, as `log_scales.bounded` computes them."""
    limit = np.where(
        outputs > 0, _LOG_SCALE_HIGH - _LOG_SCALE_START, _LOG_SCALE_START - _LOG_SCALE_LOW
    )
    return _LOG_SCALE_START + limit * np.tanh(outputs / limit)

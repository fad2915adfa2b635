"""The intervals of pixels under a mixture of discretized logistics, for the entropy coder.

The parameters are those of `components.model.likelihoods.logistic_mixture`, whose formulas these
are. They are computed in float64: its operations are fixed to the last bit, but for the exponential
function, whose last bit is lost when the weights become integers.
"""

import numpy as np

from components.compression import tables
from components.compression.tables import LOGISTIC, PRECISION, TOTAL

LEVELS = 256
_STEP = 1 / (LEVELS - 1)
_LOG_SCALE_START, _LOG_SCALE_LOW, _LOG_SCALE_HIGH = -2.5, -8.0, 0.0
# The table has no smaller mass, and a component is never ruled out by one channel.
_LEAST_MASS = 1 / TOTAL


class PixelMixture:
    """The mixtures of one pixel of each of N images, whose channels are coded in turn.

    Args:
      outputs: as `LogisticMixtureFamily` describes them, float64 [N, outputs].
      components: number of logistic components, K.
      channels: number of channels of a pixel, C.
    """

    def __init__(self, outputs: np.ndarray, components: int, channels: int):
        def block(number: int) -> np.ndarray:
            first = components + 1 + number * components
            return outputs[:, first : first + components]

        logits = outputs[:, : components + 1]
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        self._weights = weights / weights.sum(axis=1, keepdims=True)
        self._spread = (np.arange(components) + 0.5) / components
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
        """The cumulative counts of levels from 0 to 256 of the channel in turn, int64 [N]."""
        masses = self._logistics(levels)
        # A sum of products with weights of PRECISION bits, and black, which is level 0.
        total = (masses * self._integers[:, :-1]).sum(axis=1) >> PRECISION
        return tables.cumulative(total + self._integers[:, -1], levels, LEVELS)

    def interval(self, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The starts and the sizes of the intervals of levels [N], each int64 [N]."""
        starts = self.below(levels)
        return starts, self.below(levels + 1) - starts

    def find(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The levels whose intervals hold positions [N], their starts and their sizes."""
        return tables.find(self.below, LEVELS, positions)

    def condition(self, levels: np.ndarray) -> None:
        """Goes on to the next channel, given the levels [N] of the one in turn."""
        lower = np.where((levels == 0)[:, np.newaxis], 0, self._logistics(levels))
        upper = np.where((levels == LEVELS - 1)[:, np.newaxis], TOTAL, self._logistics(levels + 1))
        masses = np.maximum((upper - lower) / TOTAL, _LEAST_MASS)
        is_black = (levels == 0)[:, np.newaxis].astype(np.float64)
        weights = self._weights * np.concatenate([masses, is_black], axis=1)
        self._weights = weights / weights.sum(axis=1, keepdims=True)
        self._earlier.append(levels[:, np.newaxis] * _STEP)
        self._start_channel()

    def _start_channel(self) -> None:
        channel = len(self._earlier)
        location = self._means[channel] + self._spread
        for value in self._earlier:
            location = location + np.tanh(next(self._coefficients)) * (value - 0.5)
        self._location, self._inverse = location, self._inverses[channel]
        # Rounded down, and a little less, so that their sum is at most 2^PRECISION.
        self._integers = (self._weights * (TOTAL - len(self._spread) - 1)).astype(np.int64)

    def _logistics(self, levels: np.ndarray) -> np.ndarray:
        """The mass of each component below levels [N], times 2^PRECISION; int64 [N, K]."""
        edges = (levels - 0.5) * _STEP
        return LOGISTIC((edges[:, np.newaxis] - self._location) * self._inverse)


def _bounded(outputs: np.ndarray) -> np.ndarray:
    """The log-scales of outputs, as `log_scales.bounded` computes them."""
    limit = np.where(
        outputs > 0, _LOG_SCALE_HIGH - _LOG_SCALE_START, _LOG_SCALE_START - _LOG_SCALE_LOW
    )
    return _LOG_SCALE_START + limit * np.tanh(outputs / limit)

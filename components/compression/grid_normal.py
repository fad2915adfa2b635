"""Normal variables on a grid: rounded to multiples of a step, for the entropy coder."""

import numpy as np

from components.compression import quantized_cdf
from components.compression.ans import Message
from components.compression.quantized_cdf import NORMAL, PRECISION

# Half the window of a variable, in deviations. Every symbol in a window can be drawn, so a wide
# window would occasionally give a latent that is unlikely under every distribution.
_REACH = 5.5
# Half the window of a variable with tails. The distance of values beyond it is coded in digits, all
# equally likely: images that the model does not fit may have such latents.
_TAILED_REACH = 16
_DIGITS, _DIGIT_BITS = 3, 11
# Windows have fewer symbols than there are counts.
_MOST_HALF = 1 << 20
# Variables that are narrower than this are within one step.
_LEAST_STEPS = 0.1


class RangeError(Exception):
    """Latents are too unlikely under the prior to be coded."""


class GridNormal:
    """Normal variables that are rounded to multiples of a step, one for each of N images.

    A variable has a window around its mean, in which every multiple has a count.

    Args:
      means: float64 [N].
      deviations: standard deviations, float64 [N].
      step: the step of the grid.
      halves: half the windows, in steps, int64 [N]; None for those of `half_windows`.
    """

    def __init__(
        self,
        means: np.ndarray,
        deviations: np.ndarray,
        step: float,
        halves: np.ndarray | None = None,
    ):
        self._means = means
        self._deviations = np.maximum(deviations, _LEAST_STEPS * step)
        self._step = step
        if halves is None:
            halves = half_windows(self._deviations, step)
        self._first = np.floor(means / step).astype(np.int64) - halves
        self._counts = 2 * halves + 2

    def pop(self, message: Message) -> np.ndarray:
        """Takes variables from the first N lanes, in steps, int64 [N]."""
        positions = message.positions(len(self._means), PRECISION)
        symbols, starts, sizes = quantized_cdf.find(self._below, self._counts, positions)
        message.pop(starts, sizes, PRECISION)
        return symbols + self._first

    def push(self, message: Message, values: np.ndarray) -> None:
        """Puts variables, in steps, on the first N lanes: what `pop` undoes.

        Raises:
          RangeError: a value is outside of its window.
        """
        symbols = values - self._first
        if (symbols < 0).any() or (symbols >= self._counts).any():
            raise RangeError
        starts = self._below(symbols)
        message.push(starts, self._below(symbols + 1) - starts, PRECISION)

    def _below(self, symbols: np.ndarray) -> np.ndarray:
        """The cumulative counts of symbols [N], int64."""
        edges = ((symbols + self._first) - 0.5) * self._step
        mass = NORMAL((edges - self._means) / self._deviations)
        return quantized_cdf.cumulative(mass, symbols, self._counts)


def half_windows(deviations: np.ndarray, step: float) -> np.ndarray:
    """Half the windows that hold nearly all mass of normal variables, in steps, int64 [N]."""
    return _halves(_REACH, deviations, step) + 1


def _halves(reach: float, deviations: np.ndarray, step: float) -> np.ndarray:
    return np.minimum(np.ceil(reach * deviations / step), _MOST_HALF).astype(np.int64)


class TailedNormal:
    """Normal variables on a grid, for any value.

    Args:
      means: float64 [N].
      deviations: standard deviations, float64 [N].
      step: the step of the grid.
    """

    def __init__(self, means: np.ndarray, deviations: np.ndarray, step: float):
        widened = np.maximum(deviations, _LEAST_STEPS * step)
        self._halves = _halves(_TAILED_REACH, widened, step)
        self._middles = np.floor(means / step).astype(np.int64)
        self._window = GridNormal(means, widened, step, self._halves)

    def push(self, message: Message, values: np.ndarray) -> None:
        """Puts variables, in steps, on the first N lanes.

        Raises:
          RangeError: a value is too far away even for the digits.
        """
        offsets = values - self._middles
        beyond = np.abs(offsets) - self._halves
        if (beyond >> (_DIGITS * _DIGIT_BITS) > 0).any():
            raise RangeError
        sizes = _digit_sizes(beyond >= 0)
        for digit in range(_DIGITS):
            starts = np.maximum(beyond, 0) >> (digit * _DIGIT_BITS) & ((1 << _DIGIT_BITS) - 1)
            message.push(starts, sizes, _DIGIT_BITS)
        inside = np.clip(offsets, -self._halves, self._halves)
        self._window.push(message, inside + self._middles)

    def pop(self, message: Message) -> np.ndarray:
        """Takes variables from the first N lanes, in steps, int64 [N]: what `push` undoes."""
        offsets = self._window.pop(message) - self._middles
        is_beyond = np.abs(offsets) >= self._halves
        sizes = _digit_sizes(is_beyond)
        for digit in reversed(range(_DIGITS)):
            positions = message.positions(len(offsets), _DIGIT_BITS)
            starts = np.where(is_beyond, positions, 0)
            message.pop(starts, sizes, _DIGIT_BITS)
            offsets += np.sign(offsets) * (starts << (digit * _DIGIT_BITS))
        return offsets + self._middles


def _digit_sizes(is_beyond: np.ndarray) -> np.ndarray:
    """The sizes of the intervals of digits: variables within the window have no digits."""
    return np.where(is_beyond, 1, 1 << _DIGIT_BITS)

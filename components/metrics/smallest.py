"""The smallest values of a stream."""

import numpy as np


class SmallestInStream:
    """The k smallest of values that come in blocks, in memory for k values and a block.

    Of equal values, the one that comes first is the smaller.

    Args:
      k: number of values to keep, at least 1.
    """

    def __init__(self, k: int):
        self._k = k
        self._count = 0
        self._values = np.empty(0)
        self._numbers = np.empty(0, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Adds the next values: numbers other than NaN, shape [N]. An infinite one is skipped."""
        limit = self._values[-1] if len(self._values) == self._k else np.inf
        candidates = np.flatnonzero(values < limit)
        merged = np.concatenate([self._values, values[candidates]])
        numbers = np.concatenate([self._numbers, self._count + candidates])
        order = np.argsort(merged, kind="stable")[: self._k]
        self._values, self._numbers = merged[order], numbers[order]
        self._count += len(values)

    @property
    def values(self) -> np.ndarray:
        """The smallest values so far, ascending: float64, shape [k] or less."""
        return self._values

    @property
    def numbers(self) -> np.ndarray:
        """Their positions in the stream: int64, of the same shape."""
        return self._numbers

"""Distribution functions as integers: the one place where probabilities become integer tables.

An entropy coder needs cumulative counts that encoder and decoder agree on to the last bit, and that
increase strictly: a symbol without a count cannot be coded. The functions here guarantee both. A
distribution function is a table of rising integers; its argument becomes an index by operations
that are monotone and that IEEE 754 fixes to the last bit; and everything after the look-up is exact
arithmetic with integers, which float64 holds as long as they are below 2^53.
"""

import math
from collections.abc import Callable

import numpy as np

# Cumulative counts of a distribution end at 2 to this power.
PRECISION = 24
TOTAL = 1 << PRECISION


class DistributionTable:
    """A distribution function F as a table of integers F · 2^PRECISION.

    Args:
      function: F, which rises from 0 to 1.
      reach: the table covers arguments between -reach and reach; beyond, its end values hold.
      resolution: entries for each unit of the argument.

    Attributes:
      middle: the entry of the argument 0.
      resolution: as given.
    """

    def __init__(self, function: Callable[[float], float], *, reach: int, resolution: int):
        count = 2 * reach * resolution
        middles = ((np.arange(count) + 0.5) / resolution - reach).tolist()
        values = np.array([math.floor(function(middle) * TOTAL) for middle in middles], np.int64)
        # A function's last bit may fall where the function rises.
        self._values = np.maximum.accumulate(values).astype(np.float64)
        self.middle, self.resolution = float(reach * resolution), float(resolution)

    def __call__(self, arguments: np.ndarray) -> np.ndarray:
        """F · 2^PRECISION of arguments of any shape, float64; integers as float64, same shape."""
        places = arguments * self.resolution
        places += self.middle
        return self.at(places)

    def at(self, places: np.ndarray) -> np.ndarray:
        """The entries at places, `middle` + `resolution` · argument, of less than 2^63."""
        return self._values.take(places.astype(np.int64), mode="clip")


# The standard deviation of a logistic variable is 1.8, that of a normal one 1.
LOGISTIC = DistributionTable(lambda d: 1 / (1 + math.exp(-d)), reach=16, resolution=2048)
NORMAL = DistributionTable(lambda d: math.erfc(-d / math.sqrt(2)) / 2, reach=8, resolution=8192)


def cumulative(mass: np.ndarray, symbols: np.ndarray, count: int | np.ndarray) -> np.ndarray:
    """Cumulative counts of symbols; each symbol has a count of 1 or more.

    Args:
      mass: probability of the symbols before each, times 2^PRECISION; integers as float64, of any
        shape.
      symbols: from 0 on, int64 of the same shape. The first has the count 0, and those from `count`
        on, which mark the end, 2^PRECISION, whatever the mass.
      count: number of symbols, less than 2^PRECISION; of all distributions, or of each.

    Returns:
      The counts, int64 of the same shape.
    """
    counts = inner_counts(mass, symbols, count)
    counts[symbols == 0] = 0
    counts[symbols >= count] = TOTAL
    return counts


def inner_counts(mass: np.ndarray, symbols: np.ndarray, count: int | np.ndarray) -> np.ndarray:
    """The result of `cumulative`, for symbols between the first one and `count`."""
    # The product has at most 48 bits, so that the conversion rounds down an exact number.
    return (mass * (1 - count / TOTAL)).astype(np.int64) + symbols


def find(
    below: Callable[[np.ndarray], np.ndarray], count: int | np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The symbols whose intervals hold the positions, by bisection.

    Args:
      below: the cumulative count of a symbol for each position, as `cumulative` gives it; if
        `count` is one power of 2, `inner_counts` is enough.
      count: number of symbols, of all distributions or of each, [N].
      positions: from 0 to before 2^PRECISION, int64 [N].

    Returns:
      The symbols, the starts of their intervals and their sizes, each int64 [N].
    """
    symbols = np.zeros_like(positions)
    starts, ends = np.zeros_like(positions), np.full_like(positions, TOTAL)
    step = 1 << (int(np.max(count)) - 1).bit_length() >> 1
    while step:
        # The count of a symbol beyond the last one is above every position.
        middle = symbols + step
        counts = below(middle)
        is_right = counts <= positions
        np.copyto(symbols, middle, where=is_right)
        np.copyto(starts, counts, where=is_right)
        np.copyto(ends, counts, where=~is_right)
        step //= 2
    return symbols, starts, ends - starts

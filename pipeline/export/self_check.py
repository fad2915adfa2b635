"""Compares the outputs of two programs, and measures the time of a call."""

import statistics
import time
from collections.abc import Callable

import numpy as np

from components.base.errors import WorkError

# Inputs or outputs by name, and a function of them.
Arrays = dict[str, np.ndarray]
Function = Callable[[Arrays], Arrays]

# A sum of float32 numbers in another order differs by about 1e-6 relative to the largest output.
LARGEST_DIFFERENCE = 1e-5

# The output that the others are terms of.
_SUMS = {"rate": "elbo", "distortion": "elbo"}

_MAX_CALLS, _MAX_SECONDS = 21, 1.0


def relative_difference(found: Arrays, expected: Arrays) -> float:
    """The largest difference of an output, relative to the largest number in that output.

    For a term of the ELBO, it is relative to the largest ELBO: a small rate is a difference of
    larger numbers. The result is infinite if an output is missing or has another shape or type, and
    NaN if one holds NaN.
    """
    if found.keys() != expected.keys():
        return float("inf")
    differences = []
    for name, value in expected.items():
        other = found[name]
        if (other.shape, other.dtype) != (value.shape, value.dtype):
            return float("inf")
        largest = np.abs(expected[_SUMS.get(name, name)]).max(initial=0.0) or 1.0
        differences.append(np.abs(other - value).max(initial=0.0) / largest)
    return float(np.max(differences))


def check(name: str, difference: float, *, reference: str) -> None:
    """Checks that outputs are those of a reference, up to the rounding of float32.

    Args:
      name: what was compared, for the error message.
      difference: its relative difference.
      reference: what it was compared with, for the error message.

    Raises:
      WorkError: the difference is larger than `LARGEST_DIFFERENCE`, or is not a number.
    """
    if not difference <= LARGEST_DIFFERENCE:
        raise WorkError(
            f"{name} differs from {reference} by {difference:.1e} of the largest output, more than "
            f"{LARGEST_DIFFERENCE:.0e}, so nothing is published; choose other --formats, or "
            "another machine"
        )


def latency(call: Callable[[], object]) -> float:
    """The median duration of a call in milliseconds, over a second of calls or a few.

    The first call, which may compile, counts only if it takes that whole second.
    """
    durations: list[float] = []
    while len(durations) < _MAX_CALLS and sum(durations) < _MAX_SECONDS:
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return 1000 * statistics.median(durations[1:] or durations)

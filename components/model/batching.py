"""A function of a batch of rows, computed for arrays of any number of rows."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def in_batches(
    function: Callable[..., Sequence[Any]],
    arrays: Sequence[np.ndarray | None],
    *,
    size: int,
    pads: bool = False,
) -> list[np.ndarray]:
    """The results of a function for consecutive batches of rows, joined.

    Args:
      function: takes the same rows of each array, and returns results with as many rows: arrays or
        tensors.
      arrays: arrays of N > 0 rows. None marks an input that is absent, and is passed on.
        The first one is an array.
      size: number of rows of a batch.
      pads: whether the last batch is filled up with rows of zeros, whose results are dropped. All
        batches then have one shape: a function that XLA compiles is compiled once, and the result
        for a row does not depend on the rows after it.

    Returns:
      Each result of the function, of shape [N, ...].
    """
    count = len(arrays[0])  # type: ignore[arg-type]
    parts = []
    for first in range(0, count, size):
        batch = [None if each is None else each[first : first + size] for each in arrays]
        if pads:
            batch = [None if each is None else _padded(each, size) for each in batch]
        parts.append([np.asarray(result) for result in function(*batch)])
    return [np.concatenate(results)[:count] for results in zip(*parts, strict=True)]


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    """Rows of an array, followed by as many rows of zeros as make `size` rows."""
    if len(rows) == size:
        return rows
    padding = np.zeros((size - len(rows), *rows.shape[1:]), rows.dtype)
    return np.concatenate([rows, padding])

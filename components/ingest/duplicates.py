"""Duplicates among examples: those with the same id, or with the same pixels.

Equal hashes are found first, in a sorted array. Only the few examples that share one are compared
by their ids or whole digests.
"""

import collections
from collections.abc import Callable, Hashable

import numpy as np

from components.ingest.key_table import KeyTable


def same_ids(table: KeyTable) -> list[list[int]]:
    """The groups of examples that have the same id: indices of `table`."""
    return _groups(table.keys["hash"], table.id_of)


def same_pixels(table: KeyTable) -> list[list[int]]:
    """The groups of examples that have the same pixels: indices of `table`."""
    digests = table.keys["digest"]
    return _groups(digests[:, 0], lambda index: tuple(digests[index].tolist()))


def _groups(values: np.ndarray, key: Callable[[int], Hashable]) -> list[list[int]]:
    """Groups of indices with equal keys, among those with equal values."""
    ordered = np.sort(values)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not repeated.size:
        return []
    groups: dict[Hashable, list[int]] = collections.defaultdict(list)
    for index in np.flatnonzero(np.isin(values, repeated)).tolist():
        groups[key(index)].append(index)
    # Examples with the same hash may still have different keys.
    return [group for group in groups.values() if len(group) > 1]

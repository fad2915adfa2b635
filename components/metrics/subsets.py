"""Subsets of examples: evenly spaced ones, and the same number of each class."""

import numpy as np


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """The numbers of at most `most` of `count` examples, ascending and evenly spaced, int64."""
    chosen = min(count, most)
    return np.arange(chosen) * count // chosen


def evenly_by_class(labels: np.ndarray, most: int) -> np.ndarray:
    """Chooses examples evenly by class: the first of each class, then the second of each, ….

    Prepare sorts the examples by a hash of their ids, so the first of a class are a random sample.

    Args:
      labels: integers, shape [N].
      most: the largest number of examples.

    Returns:
      The numbers of the examples, ascending, int64.
    """
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    ranks = np.arange(len(labels)) - np.repeat(starts, counts)
    return np.sort(order[np.argsort(ranks, kind="stable")][:most])

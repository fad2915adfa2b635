"""Vectors that have a near neighbor, and groups of them, to find near duplicates."""

import numpy as np

from components.metrics.nearest_neighbors import nearest

# Vectors whose neighbors are looked for at once, and vectors that the axis is computed from.
_BLOCK, _SAMPLE = 4096, 4096
# Points whose nearest others are looked for to know the usual distance.
_MEDIAN_SAMPLE = 1000


def nearest_within(points: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest other point of each point, if its Euclidean distance is at most a limit.

    The result is exact. The distance of two points is at least that of their coordinates on any
    axis, so each point is compared only with those that are within the limit on the axis of
    greatest variance. The search is the faster, the smaller the limit is relative to the extent of
    the points.

    Args:
      points: finite, float32, shape [N, dimensions].
      limit: the largest distance, at least 0.

    Returns:
      The numbers of the nearest points, int64 [N], -1 if none is near enough; and the distances,
      float64 [N], infinite if none is.
    """
    numbers, distances = np.full(len(points), -1), np.full(len(points), np.inf)
    if not len(points):
        return numbers, distances
    coordinates = np.einsum("nd,d->n", points, _long_axis(points), dtype=np.float64)
    order = np.argsort(coordinates, kind="stable")
    coordinates, points = coordinates[order], points[order]
    # The rounding of a sum of products is below its number of terms times the lengths.
    radius = np.sqrt(np.einsum("nd,nd->n", points, points, dtype=np.float64).max())
    reach = limit + 4 * points.shape[1] * np.finfo(np.float64).eps * radius
    for first in range(0, len(points), _BLOCK):
        last = min(first + _BLOCK, len(points))
        start = np.searchsorted(coordinates, coordinates[first] - reach, "left")
        stop = np.searchsorted(coordinates, coordinates[last - 1] + reach, "right")
        if stop - start < 2:
            continue
        window, queries = points[start:stop], points[first:last]
        found = nearest(window, queries, k=2)
        # A point is its own nearest, unless equal points come before it.
        is_own = found[:, 0] == np.arange(first, last) - start
        others = np.where(is_own, found[:, 1], found[:, 0])
        differences = queries.astype(np.float64) - window[others]
        lengths = np.sqrt(np.square(differences).sum(axis=1))
        is_near = lengths <= limit
        rows = order[first:last][is_near]
        numbers[rows] = order[start + others[is_near]]
        distances[rows] = lengths[is_near]
    return numbers, distances


def median_nearest_distance(points: np.ndarray) -> float:
    """The median Euclidean distance of a point to the nearest other one; infinite for one point.

    Of many points, it is that of a thousand evenly spaced ones, to all others.

    Args:
      points: finite, float32, shape [N, dimensions].
    """
    if len(points) < 2:
        return float("inf")
    queries = points[:: max(1, len(points) // _MEDIAN_SAMPLE)]
    # A point is one of the two nearest to itself, or has an equal one: in both cases the second is
    # as far away as the nearest other one.
    second = nearest(points, queries, k=2)[:, 1]
    differences = queries.astype(np.float64) - points[second]
    return float(np.median(np.sqrt(np.square(differences).sum(axis=1))))


def linked_groups(numbers: np.ndarray) -> list[np.ndarray]:
    """The groups of points that links join, directly or through others.

    Args:
      numbers: by point, the number of the point that it has a link to, or -1; int64 [N].

    Returns:
      The numbers of each group's points, ascending; the groups in the order of their first points.
    """
    parents: dict[int, int] = {}

    def root(number: int) -> int:
        while (parent := parents.setdefault(number, number)) != number:
            # Halves the path, so that chains of links stay short.
            parents[number] = number = parents[parent]
        return number

    for number in np.flatnonzero(numbers >= 0).tolist():
        first, second = sorted((root(number), root(int(numbers[number]))))
        parents[second] = first
    members: dict[int, list[int]] = {}
    for number in sorted(parents):
        members.setdefault(root(number), []).append(number)
    return [np.array(group) for group in members.values()]


def _long_axis(points: np.ndarray) -> np.ndarray:
    """The axis of greatest variance of a sample, of length 1: float64, shape [dimensions]."""
    sample = points[:: max(1, len(points) // _SAMPLE)].astype(np.float64)
    sample -= sample.mean(axis=0)
    # A scale near 1, so that no square overflows or underflows.
    sample /= np.abs(sample).max() or 1.0
    _, axes = np.linalg.eigh(sample.T @ sample)
    return axes[:, -1]

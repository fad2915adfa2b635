"""Classification by the nearest neighbors: how well embeddings tell classes apart.

If examples of a class have embeddings that are close to one another, the labels of the nearest
neighbors predict an example's label (Cover and Hart, 1967).
"""

import collections
import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from components.base.arithmetic import ceil_div

# Distances that are held at once, of a block of queries to all points: 32 MiB.
_BLOCK_DISTANCES = 1 << 23
# Points in a group; of a group, the search first compares only the smallest distance to a query.
_GROUP_POINTS = 64
_CHOICES_OF_K = range(3, 16)


@dataclasses.dataclass(frozen=True)
class LabeledVectors:
    """Vectors of N examples with their labels.

    Attributes:
      vectors: finite, float32, shape [N, dimensions].
      labels: integers, shape [N].
    """

    vectors: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | np.ndarray) -> "LabeledVectors":
        """Some of the examples."""
        return LabeledVectors(self.vectors[rows], self.labels[rows])


def best_k(fitted: LabeledVectors, heldout: LabeledVectors) -> int:
    """The number of neighbors, from 3 to 15, that predicts most labels; in a tie, the smallest.

    Args:
      fitted: examples among which the neighbors are.
      heldout: examples whose labels are predicted, at least one.
    """
    return _CHOICES_OF_K[int(correct(fitted, heldout, _CHOICES_OF_K).sum(axis=1).argmax())]


def correct(fitted: LabeledVectors, queries: LabeledVectors, numbers: Sequence[int]) -> np.ndarray:
    """Whether the label that most of the k nearest neighbors have is an example's own.

    In a tie, the label of the nearest neighbor among those with most votes is predicted.

    Args:
      fitted: examples among which the neighbors are, at least one.
      queries: examples whose labels are predicted.
      numbers: the numbers k. One that exceeds the number of examples means all examples.

    Returns:
      bool, shape [len(numbers), queries].
    """
    largest = min(max(numbers), len(fitted))
    votes = fitted.labels[nearest(fitted.vectors, queries.vectors, k=largest)]
    return np.stack([_most_votes(votes[:, :k]) == queries.labels for k in numbers])


def _most_votes(votes: np.ndarray) -> np.ndarray:
    """The label with most votes in each row of [queries, k], the nearest first."""
    counts = np.zeros(votes.shape, np.int16)
    for vote in range(votes.shape[1]):
        counts += votes == votes[:, vote, np.newaxis]
    # The first of the maxima is the nearest neighbor whose label has most votes.
    return votes[np.arange(len(votes)), counts.argmax(axis=1)]


def nearest(points: np.ndarray, queries: np.ndarray, *, k: int) -> np.ndarray:
    """The numbers of the points at the smallest Euclidean distances to each query, nearest first.

    The result is exact; of points at the same distance, the one with the lower number counts as
    nearer. The memory beside the arguments, the result and a copy of the points has a bound, unless
    the distances of a single query exceed it.

    Args:
      points: finite, float32, shape [N, dimensions].
      queries: finite, float32, shape [M, dimensions].
      k: number of points to find, from 1 to N.

    Returns:
      int64, shape [M, k].
    """
    # Of more than k equal points, the first k are nearer than the others, for every query. If all
    # points are equal, as those of a collapsed posterior are, there are no others to compare.
    numbers = _first_of_equals(points, k)
    search = _Search(points[numbers] if len(numbers) < len(points) else points, k)
    size = search.block_size
    found = np.empty((len(queries), k), np.int64)
    for first in range(0, len(queries), size):
        found[first : first + size] = numbers[search.nearest(queries[first : first + size])]
    return found


def squared_distances(points: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The squared Euclidean distances of points from one query.

    Args:
      points: shape [N, dimensions].
      query: shape [dimensions].

    Returns:
      float64, shape [N].
    """
    differences = points - query.astype(np.float64)
    return _squared_lengths(differences)


def _first_of_equals(points: np.ndarray, k: int) -> np.ndarray:
    """The numbers of the points that have fewer than k equal points before them, ascending."""
    counts = collections.Counter[bytes]()
    numbers = []
    for number, point in enumerate(np.ascontiguousarray(points)):
        digest = hashlib.blake2b(point, digest_size=16).digest()
        if counts[digest] < k:
            numbers.append(number)
        counts[digest] += 1
    return np.array(numbers, np.int64)


class _Search:
    """Finds the nearest points in two passes.

    The first pass computes distances by a matrix product in float32, and keeps the few points whose
    distances, after rounding, may be among the k smallest. The second pass computes their distances
    in float64, and not by a matrix product: its rounding depends on the block that a query is in.

    Args:
      points: shape [N, dimensions].
      k: number of points to find.
    """

    def __init__(self, points: np.ndarray, k: int):
        self._points, self._k = points, k
        count, dimensions = points.shape
        # Near 0, rounding is finest. Near 1, no square overflows or underflows.
        self._center = points.mean(axis=0, dtype=np.float64).astype(np.float32)
        ends = np.stack([points.min(axis=0), points.max(axis=0)])
        _, exponent = np.frexp(np.abs(ends - self._center).max())
        self._scale = np.float32(2.0 ** min(-int(exponent), 126))
        # At least k groups, so that the k smallest distances of groups bound those of points.
        self._group_points = min(_GROUP_POINTS, count // k)
        self._groups = ceil_div(count, self._group_points)
        # |q - p|^2 - |q|^2 = (-2 q, 1) (p, |p|^2). Places in groups that no point fills are further
        # away than all points.
        self._factors = np.zeros((dimensions + 1, self._groups * self._group_points), np.float32)
        self._factors[-1, count:] = np.finfo(np.float32).max
        size = max(1, _BLOCK_DISTANCES // (dimensions + 1))
        for first in range(0, count, size):
            part = slice(first, min(first + size, count))
            scaled = self._scaled(points[part])
            self._factors[:-1, part] = scaled.T
            self._factors[-1, part] = _squared_lengths(scaled)
        self._radius = float(np.sqrt(self._factors[-1, :count].max()))

    @property
    def block_size(self) -> int:
        """The number of queries to search for at once."""
        return max(1, _BLOCK_DISTANCES // self._factors.shape[1])

    def nearest(self, queries: np.ndarray) -> np.ndarray:
        """The numbers of the k nearest points of each query [M, dimensions], int64 [M, k]."""
        rows, numbers = self._candidates(queries)
        distances = self._distances(queries, rows, numbers)
        order = np.lexsort((numbers, distances, rows))
        # A row has k candidates or more, and the first k are its nearest.
        starts = np.searchsorted(rows, np.arange(len(queries)))
        return numbers[order[starts[:, np.newaxis] + np.arange(self._k)]]

    def _candidates(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Queries and points that may be near them: rows, ascending, and numbers of points."""
        scaled = self._scaled(queries)
        left = np.concatenate([-2 * scaled, np.ones((len(scaled), 1), np.float32)], axis=1)
        distances = (left @ self._factors).reshape(-1, self._group_points, self._groups)
        smallest = distances.min(axis=1)
        limits = np.partition(smallest, self._k - 1, axis=1)[:, self._k - 1].astype(np.float64)
        # A sum of n products has an error of at most n eps times the sum of their sizes, here of
        # (|q| + |p|)^2; a few more eps cover the rounding of the factors. The k-th distance may be
        # too small by this error, and that of a nearer point too large.
        terms = len(self._factors) + 8
        errors = np.square(np.sqrt(_squared_lengths(scaled)) + self._radius)
        limits += 2 * terms * np.finfo(np.float32).eps * errors
        limits = np.nextafter(limits.astype(np.float32), np.float32(np.inf))
        rows, groups = np.nonzero(smallest <= limits[:, np.newaxis])
        hits, members = np.nonzero(distances[rows, :, groups] <= limits[rows, np.newaxis])
        return rows[hits], members * self._groups + groups[hits]

    def _distances(self, queries: np.ndarray, rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """The squared distances of pairs of a query and a point, float64."""
        distances = np.empty(len(rows))
        size = max(1, _BLOCK_DISTANCES // (4 * len(self._factors)))
        for first in range(0, len(rows), size):
            part = slice(first, first + size)
            differences = queries[rows[part]].astype(np.float64)
            differences -= self._points[numbers[part]]
            distances[part] = np.square(differences, out=differences).sum(axis=1)
        return distances

    def _scaled(self, vectors: np.ndarray) -> np.ndarray:
        return (vectors - self._center) * self._scale


def _squared_lengths(vectors: np.ndarray) -> np.ndarray:
    """In float64, shape [N]."""
    return np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)

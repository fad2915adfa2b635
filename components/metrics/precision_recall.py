"""Precision and recall of samples: how many are realistic, and how many kinds of images they cover.

Kynkäänniemi et al. (2019), "Improved precision and recall metric for assessing generative models":
the manifold of a set of feature vectors is the union of the balls around them that reach to their
k-th nearest neighbor in the set. Precision is the fraction of samples on the manifold of the
reference, recall the fraction of the reference on the manifold of the samples.
"""

import numpy as np

from components.metrics.mean import Mean

NEIGHBORS = 3
# Distances that are held at once: 8 MiB, near the size of a CPU's caches.
_BLOCK_DISTANCES = 1 << 20


def precision_and_recall(
    samples: np.ndarray, reference: np.ndarray, *, k: int = NEIGHBORS
) -> tuple[Mean, Mean]:
    """Precision and recall of samples against a reference.

    Both depend on the numbers of vectors: they are compared only at the same numbers. The interval
    of the precision covers the choice of the samples, and that of the recall the choice of the
    reference, given the manifold of the other set.

    Args:
      samples: shape [N, dimensions], N > k.
      reference: shape [M, dimensions], M > k.
      k: number of the neighbor that a ball reaches to.

    Returns:
      Precision and recall, fractions from 0 to 1.
    """
    # Near 0, the differences of products lose no digits.
    center = reference.mean(axis=0, dtype=np.float64)
    samples, reference = samples - center, reference - center
    sample_radii, reference_radii = _squared_radii(samples, k), _squared_radii(reference, k)
    realistic = np.empty(len(samples), bool)
    covered = np.zeros(len(reference), bool)
    size = max(1, _BLOCK_DISTANCES // len(reference))
    for first in range(0, len(samples), size):
        rows = slice(first, first + size)
        distances = _squared_distances(samples[rows], reference)
        realistic[rows] = (distances <= reference_radii).any(axis=1)
        covered |= (distances <= sample_radii[rows, np.newaxis]).any(axis=0)
    return Mean.of_proportion(realistic), Mean.of_proportion(covered)


def _squared_radii(vectors: np.ndarray, k: int) -> np.ndarray:
    """The squared distance of each vector to its k-th nearest neighbor in the set, shape [N]."""
    radii = np.empty(len(vectors))
    size = max(1, _BLOCK_DISTANCES // len(vectors))
    for first in range(0, len(vectors), size):
        block = vectors[first : first + size]
        distances = _squared_distances(block, vectors)
        rows = np.arange(len(block))
        distances[rows, first + rows] = np.inf  # A vector is not its own neighbor.
        radii[first : first + size] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return radii


def _squared_distances(block: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The squared distances of the vectors of a block to all vectors, [block, N]."""
    distances = block @ vectors.T
    distances *= -2
    distances += np.einsum("nd,nd->n", block, block)[:, np.newaxis]
    distances += np.einsum("nd,nd->n", vectors, vectors)
    return distances.clip(min=0, out=distances)

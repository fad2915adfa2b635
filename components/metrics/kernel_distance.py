"""The kernel distance between sets of feature vectors: the kernel inception distance (KID).

Bińkowski et al. (2018), "Demystifying MMD GANs": the squared maximum mean discrepancy (MMD) with
the kernel k(x, y) = (x·y / dimensions + 1)^3. Unlike the Fréchet distance, its estimate is unbiased
for any number of vectors, and it does not assume normal distributions.
"""

import dataclasses
import math

import numpy as np

from components.metrics import jackknife
from components.metrics.mean import Mean

# Kernels that are held at once: 8 MiB, near the size of a CPU's caches.
_BLOCK_KERNELS = 1 << 20


def kernel_distance(samples: np.ndarray, reference: np.ndarray) -> Mean:
    """The unbiased estimate of the squared MMD between the distributions of two sets of vectors.

    The interval covers the choice of both sets, by a jackknife over single vectors.

    Args:
      samples: shape [N, dimensions], N >= 2.
      reference: shape [M, dimensions], M >= 2.

    Returns:
      Without a unit. For two sets from one distribution, it is 0 on average, so it may be below 0.
      With an infinite half-width if a set has fewer than three vectors.
    """
    x, y = samples.astype(np.float64), reference.astype(np.float64)
    (from_x, from_y), of_x, of_y = _sums(x, y), _sums(x, x)[0], _sums(y, y)[0]
    # MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y), where x and x' are different vectors.
    within = [_Within.of(own, vectors) for own, vectors in ((of_x, x), (of_y, y))]
    across = from_x.sum() / (len(x) * len(y))
    distance = within[0].mean + within[1].mean - 2 * across
    if min(len(x), len(y)) < 3:
        return Mean(distance, math.inf)
    without_x = within[0].means_without_one + within[1].mean - 2 * _means_without_one(from_x, y)
    without_y = within[0].mean + within[1].means_without_one - 2 * _means_without_one(from_y, x)
    return Mean.estimated(distance, jackknife.standard_error(without_x, without_y))


@dataclasses.dataclass(frozen=True)
class _Within:
    """The mean kernel of two different vectors of a set.

    Attributes:
      mean: of all pairs.
      means_without_one: of the pairs without one vector at a time, shape [N].
    """

    mean: float
    means_without_one: np.ndarray

    @staticmethod
    def of(sums: np.ndarray, vectors: np.ndarray) -> "_Within":
        """The means of a set, given the sums of each vector's kernels with all vectors, [N]."""
        others = sums - _kernel(np.einsum("nd,nd->n", vectors, vectors), vectors.shape[1])
        count, total = len(others), others.sum()
        # A vector is in its own row and in its own column. Without one of two, no pair is left.
        pairs = max(1, (count - 1) * (count - 2))
        return _Within(total / (count * (count - 1)), (total - 2 * others) / pairs)


def _means_without_one(sums: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The mean kernel of pairs from two sets without one vector of the first set at a time.

    Args:
      sums: of the kernels of each vector of the first set with the second set, shape [N].
      others: the second set.
    """
    return (sums.sum() - sums) / ((len(sums) - 1) * len(others))


def _sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sums of the kernels of each vector of a set with all of another, for both sets."""
    from_x, from_y = np.empty(len(x)), np.zeros(len(y))
    size = max(1, _BLOCK_KERNELS // len(y))
    for first in range(0, len(x), size):
        rows = slice(first, first + size)
        kernels = _kernel(x[rows] @ y.T, x.shape[1])
        from_x[rows] = kernels.sum(axis=1)
        from_y += kernels.sum(axis=0)
    return from_x, from_y


def _kernel(products: np.ndarray, dimensions: int) -> np.ndarray:
    """The kernels of pairs of vectors, from their scalar products."""
    base = products / dimensions
    base += 1
    cubes = base * base
    cubes *= base
    return cubes

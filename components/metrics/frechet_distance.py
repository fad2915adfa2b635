"""The Fréchet distance between sets of feature vectors, as in the Fréchet inception distance (FID).

Heusel et al. (2017), "GANs trained by a two time-scale update rule converge to a local Nash
equilibrium": both sets are modeled as draws of normal distributions, whose squared Fréchet distance
(also called the 2-Wasserstein distance) has a closed form (Dowson and Landau, 1982). Everything is
computed in float64.
"""

import dataclasses
import math

import numpy as np

from components.metrics import jackknife
from components.metrics.mean import Mean

# Groups of vectors that are left out in turn for the standard error.
_GROUPS = 20


def between_normals(
    mean_1: np.ndarray, covariance_1: np.ndarray, mean_2: np.ndarray, covariance_2: np.ndarray
) -> float:
    """The squared Fréchet distance between two normal distributions.

    Args:
      mean_1: shape [dimensions].
      covariance_1: symmetric, with no negative eigenvalues, shape [dimensions, dimensions].
      mean_2: as `mean_1`.
      covariance_2: as `covariance_1`.

    Returns:
      In squared units of the features, at least 0.
    """
    # d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2). The product is symmetric, so the
    # trace of its root is the sum of the roots of its eigenvalues, which are real. Rounding makes
    # some of them negative where they are 0.
    root = _square_root(covariance_1)
    product = root @ covariance_2 @ root
    eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
    trace_of_root = np.sqrt(eigenvalues.clip(min=0)).sum()
    shift = np.square(mean_1 - mean_2).sum()
    distance = shift + np.trace(covariance_1) + np.trace(covariance_2) - 2 * trace_of_root
    return max(0.0, float(distance))


def frechet_distance(samples: np.ndarray, reference: np.ndarray) -> Mean:
    """The squared Fréchet distance between the normal distributions fitted to two sets of vectors.

    The estimate is too high by an amount that falls with the number of vectors: distances are
    compared only at the same numbers. The interval covers the choice of both sets, by a jackknife
    over groups of vectors; it does not cover that bias.

    Args:
      samples: in random order, shape [N, dimensions], N >= 2.
      reference: in random order, shape [M, dimensions], M >= 2.

    Returns:
      In squared units of the features; with an infinite half-width if a set has less than four
      vectors.
    """
    # A shift of both sets changes nothing. Near 0, the sums lose no digits.
    center = reference.mean(axis=0, dtype=np.float64)
    moments = [_Moments.in_groups(vectors - center) for vectors in (samples, reference)]
    (of_samples, sample_groups), (of_reference, reference_groups) = moments
    distance = _between(of_samples, of_reference)
    if min(len(sample_groups), len(reference_groups)) < 2:
        return Mean(distance, math.inf)
    error = jackknife.standard_error(
        [_between(of_samples.without(group), of_reference) for group in sample_groups],
        [_between(of_samples, of_reference.without(group)) for group in reference_groups],
    )
    return Mean.estimated(distance, error)


@dataclasses.dataclass(frozen=True)
class _Moments:
    """The sums that the mean and the covariance of vectors are made of.

    Attributes:
      count: number of vectors.
      total: their sum, shape [dimensions].
      products: the sum of their outer products, shape [dimensions, dimensions].
    """

    count: int
    total: np.ndarray
    products: np.ndarray

    @staticmethod
    def in_groups(vectors: np.ndarray) -> "tuple[_Moments, list[_Moments]]":
        """The moments of all vectors, and those of each group of two or more vectors."""
        parts = np.array_split(vectors, min(_GROUPS, len(vectors) // 2))
        groups = [_Moments(len(part), part.sum(axis=0), part.T @ part) for part in parts]
        return (
            _Moments(
                len(vectors),
                np.sum([group.total for group in groups], axis=0),
                np.sum([group.products for group in groups], axis=0),
            ),
            groups,
        )

    def without(self, group: "_Moments") -> "_Moments":
        """The moments of the vectors that are not in a group of them."""
        return _Moments(
            self.count - group.count, self.total - group.total, self.products - group.products
        )

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.count

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased, shape [dimensions, dimensions]."""
        return (self.products - np.outer(self.total, self.mean)) / (self.count - 1)


def _between(first: _Moments, second: _Moments) -> float:
    return between_normals(first.mean, first.covariance, second.mean, second.covariance)


def _square_root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric root of a symmetric matrix without negative eigenvalues."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(eigenvalues.clip(min=0))) @ vectors.T

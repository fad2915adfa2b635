"""A density fitted to the aggregate posterior after training, to draw samples from.

The aggregate posterior is the mean of the posteriors of all training images. Where it differs from
the prior, draws from the prior decode to unlikely images, and draws from this density do not (Dai
and Wipf, 2019).
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

# Each component also counts this share of a point that is distributed like all points together. It
# keeps the covariance matrices invertible, and the means of a component without points defined.
_PSEUDO_COUNT = 1e-3

# Numbers in one block of moments, 8 MB, which bounds the memory.
_BLOCK_NUMBERS = 1 << 20


@dataclasses.dataclass(frozen=True)
class AggregatePosterior:
    """A mixture of K normal distributions with full covariance matrices, in float64.

    Attributes:
      weights: weights of the components, which sum to 1, shape [K].
      means: shape [K, latents].
      covariances: shape [K, latents, latents].
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """The log-density of latents [n, latents], in nats, shape [n]."""
        coefficients = _coefficients(self)
        blocks = _moments(z.astype(np.float64), np.zeros(z.shape))
        return np.concatenate([_log_sum_exp(moments @ coefficients.T) for moments in blocks])

    def sample(
        self, n: int, seed: int | np.random.Generator, *, temperature: float = 1.0
    ) -> np.ndarray:
        """`n` draws, shape [n, latents], as a pure function of the arguments.

        Args:
          n: number of draws.
          seed: seed of the draws, or the generator to take them from.
          temperature: factor of the standard deviations of the components.
        """
        rng = np.random.default_rng(seed)
        picked = rng.choice(len(self.weights), size=n, p=self.weights)
        noise = temperature * rng.standard_normal((n, self.means.shape[1]))
        factors = np.linalg.cholesky(self.covariances)
        z = np.empty_like(noise)
        for k, (mean, factor) in enumerate(zip(self.means, factors, strict=True)):
            z[picked == k] = mean + noise[picked == k] @ factor.T
        return z


def fit_aggregate(
    means: np.ndarray,
    log_variances: np.ndarray,
    *,
    components: int,
    seed: int,
    max_iterations: int = 200,
    tolerance: float = 1e-4,
) -> AggregatePosterior:
    """Fits a mixture to the aggregate posterior of n examples, by expectation maximization.

    The fit maximizes a lower bound of the mixture's expected log-density under the posteriors: an
    example counts with the variance of its posterior, not as a point, and all its draws have the
    same responsibilities. Equal arguments give equal results.

    Args:
      means: means of the posteriors, shape [n, latents].
      log_variances: natural logarithms of their variances, shape [n, latents].
      components: number of components, from 1 to n.
      seed: seed of the first components, which k-means++ picks.
      max_iterations: largest number of iterations.
      tolerance: the fit ends when an iteration raises the bound by less, in nats per example.

    Raises:
      ValueError: if the number of components is not from 1 to n.
    """
    if not 1 <= components <= len(means):
        raise ValueError(
            f"components must be from 1 to the {len(means)} examples. Received: {components}"
        )
    means = means.astype(np.float64)
    variances = np.exp(log_variances.astype(np.float64))
    # Centered, so that the covariances, differences of moments, keep their digits.
    center = means.mean(axis=0)
    means = means - center
    nearest = _nearest_centers(means, components, np.random.default_rng(seed))
    sums = _sum_by_center(means, variances, nearest, components)
    overall = sums.sum(axis=0) / len(means)
    mixture = _maximize(sums, overall)
    bound = -math.inf
    for _ in range(max_iterations):
        previous = bound
        bound, sums = _expect(mixture, means, variances)
        if bound - previous < tolerance:
            break
        mixture = _maximize(sums, overall)
    return dataclasses.replace(mixture, means=mixture.means + center)


def _sum_by_center(
    means: np.ndarray, variances: np.ndarray, nearest: np.ndarray, count: int
) -> np.ndarray:
    """The moments summed over the points of each center, [count, 1 + latents + latents²]."""
    centers, first = np.arange(count)[:, np.newaxis], 0
    sums = np.zeros((count, 1 + means.shape[1] + means.shape[1] ** 2))
    for moments in _moments(means, variances):
        is_nearest = centers == nearest[first : first + len(moments)]
        sums += is_nearest.astype(np.float64) @ moments
        first += len(moments)
    return sums


def _expect(
    mixture: AggregatePosterior, means: np.ndarray, variances: np.ndarray
) -> tuple[float, np.ndarray]:
    """The bound in nats per example, and the sums for `_maximize`."""
    coefficients = _coefficients(mixture)
    sums, total = np.zeros_like(coefficients), 0.0
    for moments in _moments(means, variances):
        log_joint = moments @ coefficients.T
        log_totals = _log_sum_exp(log_joint)
        sums += np.exp(log_joint - log_totals[:, np.newaxis]).T @ moments
        total += log_totals.sum()
    return total / len(means), sums


def _moments(means: np.ndarray, variances: np.ndarray) -> Iterator[np.ndarray]:
    """Yields 1, E[z] and E[z zᵀ] of z ~ N(mean, variance) for blocks of rows, in order.

    Each block has shape [rows, 1 + latents + latents²].
    """
    latents = means.shape[1]
    rows = max(1, _BLOCK_NUMBERS // latents**2)
    diagonal = np.arange(latents)
    for first in range(0, len(means), rows):
        mean = means[first : first + rows]
        products = mean[:, :, np.newaxis] * mean[:, np.newaxis]
        products[:, diagonal, diagonal] += variances[first : first + rows]
        yield np.hstack([np.ones((len(mean), 1)), mean, products.reshape(len(mean), -1)])


def _coefficients(mixture: AggregatePosterior) -> np.ndarray:
    """What gives log w_k + E[log N(z; m_k, C_k)] in nats when multiplied by the moments of z.

    The shape is [K, 1 + latents + latents²].
    """
    # With P = C⁻¹: log N(z; m, C) = -½ [ log|2π C| + mᵀ P m ] + (P m)ᵀ z - ½ Σ P z zᵀ
    count, latents = mixture.means.shape
    precisions = np.linalg.inv(mixture.covariances)
    linear = np.einsum("kij,kj->ki", precisions, mixture.means)
    diagonals = np.diagonal(np.linalg.cholesky(mixture.covariances), axis1=1, axis2=2)
    log_determinants = latents * math.log(2 * math.pi) + 2 * np.log(diagonals).sum(axis=-1)
    squares = (mixture.means * linear).sum(axis=-1)
    constant = np.log(mixture.weights) - 0.5 * (log_determinants + squares)
    return np.hstack([constant[:, np.newaxis], linear, -0.5 * precisions.reshape(count, -1)])


def _maximize(sums: np.ndarray, overall: np.ndarray) -> AggregatePosterior:
    """The mixture of highest bound.

    Args:
      sums: moments of all points, summed with the responsibilities of each component, shape
        [K, 1 + latents + latents²].
      overall: mean moments of all points, shape [1 + latents + latents²].
    """
    sums = sums + _PSEUDO_COUNT * overall
    counts = sums[:, 0]
    averages = sums[:, 1:] / counts[:, np.newaxis]
    latents = math.isqrt(averages.shape[1])
    means, products = averages[:, :latents], averages[:, latents:].reshape(-1, latents, latents)
    # C = E[z zᵀ] - m mᵀ
    covariances = products - means[:, :, np.newaxis] * means[:, np.newaxis]
    return AggregatePosterior(counts / counts.sum(), means, covariances)


def _nearest_centers(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The index of each point's nearest center, shape [n], for centers picked by k-means++.

    Each next center is a point picked with a probability proportional to its squared distance from
    the nearest center so far (Arthur and Vassilvitskii, 2007).
    """
    nearest = np.zeros(len(points), np.int64)
    distances = np.square(points - points[rng.integers(len(points))]).sum(axis=-1)
    for index in range(1, count):
        total = distances.sum()
        # Without a distance, all points are equal, and any is as good.
        picked = rng.choice(len(points), p=distances / total if total > 0 else None)
        new = np.square(points - points[picked]).sum(axis=-1)
        nearest[new < distances] = index
        distances = np.minimum(distances, new)
    return nearest


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    """log Σ exp(value) of each row, shape [n]."""
    highest = values.max(axis=-1)
    return highest + np.log(np.exp(values - highest[:, np.newaxis]).sum(axis=-1))

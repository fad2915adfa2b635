"""The information in the latents: the mutual information of an example and its latents.

The aggregate posterior q(z) is the mean of the posteriors q(z|x) of N examples. The mean rate has
two parts (Hoffman and Johnson 2016, "ELBO surgery"):

  E_x KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z))

The mutual information I says how well z identifies which of the N examples it was drawn for. The
marginal divergence is how far q(z) is from the prior, from which samples are drawn.
"""

import dataclasses
import math

import numpy as np

from components.metrics.subsets import evenly_spaced

# At most this many posteriors make up q(z), and this many densities of a draw under a posterior are
# computed, in about a second.
_MAX_POSTERIORS = 50_000
_MAX_DENSITIES = 25_000_000
_BLOCK_NUMBERS = 1 << 21  # Densities that are held at once: 16 MiB.
_LOG_2_PI = math.log(2 * math.pi)


@dataclasses.dataclass(frozen=True)
class ExampleInformation:
    """The mutual information of examples and their latents.

    Attributes:
      values: log q(z|x) - log q(z) in nats at one draw of z from q(z|x) for each of M examples,
        float64, shape [M]. Their mean estimates the mutual information without bias, and none
        exceeds log N.
      posteriors: number N of posteriors that make up q(z).
    """

    values: np.ndarray
    posteriors: int


def example_information(
    means: np.ndarray, log_variances: np.ndarray, *, seed: int
) -> ExampleInformation:
    """Estimates the mutual information of examples and their latents.

    It is that of these N examples, at most log N. The mutual information of all images that the
    examples are a sample of may be larger, and the estimate is then a lower bound of it.

    Args:
      means: posterior means, shape [N, latents], N > 0.
      log_variances: natural logarithms of the posterior variances, of the same shape.
      seed: seed of the draws.

    Returns:
      The values of all examples or, of more than 5,000, those of some evenly spaced ones. q(z) is
      exact for up to 50,000 examples, and consists of as many evenly spaced ones beyond.
    """
    kept = evenly_spaced(len(means), _MAX_POSTERIORS)
    means, log_variances = means[kept], log_variances[kept]
    rows = evenly_spaced(len(means), max(1, _MAX_DENSITIES // len(means)))
    rng = np.random.default_rng(np.random.SeedSequence([seed, len(means)]))
    noise = rng.standard_normal((len(rows), means.shape[1]))
    return ExampleInformation(information_at(means, log_variances, rows, noise), len(means))


def information_at(
    means: np.ndarray, log_variances: np.ndarray, rows: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """log q(z|x) - log q(z) in nats, at a draw of z for each of M examples, float64 [M].

    Args:
      means: posterior means of all N examples, shape [N, latents].
      log_variances: natural logarithms of the posterior variances, of the same shape.
      rows: the numbers of the M examples.
      noise: standard normal noise of their draws, shape [M, latents].
    """
    means, log_variances = means.astype(np.float64), log_variances.astype(np.float64)
    means = means - means.mean(axis=0)  # Near 0, rounding is finest.
    z = means[rows] + np.exp(0.5 * log_variances[rows]) * noise
    # log N(z; m, s²) = -½ [ (z-m)²/s² + log s² + log 2π ]
    own = -0.5 * (np.square(noise) + log_variances[rows] + _LOG_2_PI).sum(axis=1)
    powers = np.concatenate([np.square(z), z], axis=1)
    total = np.full(len(z), -np.inf)
    size = max(1, _BLOCK_NUMBERS // len(z))
    for first in range(0, len(means), size):
        part = slice(first, first + size)
        densities = powers @ _coefficients(means[part], log_variances[part])
        densities += _offsets(means[part], log_variances[part])
        total = np.logaddexp(total, _log_sum_exp(densities))
    # Only rounding makes a value larger than log N, where posteriors are very narrow.
    limit = math.log(len(means))
    return np.minimum(own - total + limit, limit)


def _coefficients(means: np.ndarray, log_variances: np.ndarray) -> np.ndarray:
    """The coefficients of z² and z in the log-densities, shape [2 * latents, posteriors]."""
    precisions = np.exp(-log_variances)
    return np.concatenate([-0.5 * precisions, means * precisions], axis=1).T


def _offsets(means: np.ndarray, log_variances: np.ndarray) -> np.ndarray:
    """The terms of the log-densities that do not depend on z, in nats, shape [posteriors]."""
    squares = np.square(means) * np.exp(-log_variances)
    return -0.5 * (squares + log_variances + _LOG_2_PI).sum(axis=1)


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    """The logarithm of the sum of the exponentials of each row, which is overwritten."""
    largest = values.max(axis=1)
    values -= largest[:, np.newaxis]
    return largest + np.log(np.exp(values, out=values).sum(axis=1))

"""Traversals: what each latent dimension does to an image, the most informative one first."""

import dataclasses

import numpy as np

from components.base.errors import WorkError
from components.model.embeddings import Embeddings

# Less informative latents have no row.
_ACTIVE_NATS = 0.01


@dataclasses.dataclass(frozen=True)
class Traversal:
    """Paths through the latent space, each along one latent dimension.

    Attributes:
      dimensions: index of the latent of each row.
      rates: of the latent of each row, in nats, shape [rows].
      latents: float32, shape [rows, steps, latents].
    """

    dimensions: list[int]
    rates: np.ndarray
    latents: np.ndarray

    @property
    def names(self) -> list[str]:
        """A name for each row: latents are counted from 1, as in the figures of an evaluation."""
        pairs = zip(self.dimensions, self.rates, strict=True)
        return [f"latent {dimension + 1}: {rate:.2f} nats" for dimension, rate in pairs]


def rates_by_latent(posteriors: Embeddings) -> np.ndarray:
    """How much each latent tells about an image, in nats, shape [latents].

    It is the divergence of the posteriors from the normal distribution that has the mean and the
    variance of the aggregate posterior, averaged over the examples: the rate of the latent under
    the best normal prior. It is defined for every prior, and is at least 0.

    Args:
      posteriors: those of the training examples.
    """
    # E[KL(q(z|x) || N(m, s²))] = ½ (log s² - E[log σ²]), where s² = Var[μ] + E[σ²]
    spread = np.square(_standard_deviations(posteriors))
    return 0.5 * (np.log(spread) - posteriors.log_variances.mean(axis=0, dtype=np.float64))


def _standard_deviations(posteriors: Embeddings) -> np.ndarray:
    """The standard deviations of the aggregate posterior, float64 [latents]."""
    variances = np.exp(posteriors.log_variances, dtype=np.float64).mean(axis=0)
    return np.sqrt(posteriors.means.var(axis=0, dtype=np.float64) + variances)


def traverse(posteriors: Embeddings, *, rows: int, steps: int, radius: float) -> Traversal:
    """The traversals of the latents of the highest rates.

    Each varies one latent of the mean of the embeddings, equally far in both directions.

    Args:
      posteriors: those of the training examples.
      rows: largest number of rows; latents with a rate below 0.01 nats have none.
      steps: number of points of each traversal, at least 2.
      radius: how far they go, in standard deviations of the aggregate posterior.

    Raises:
      WorkError: no latent has such a rate.
    """
    rates = rates_by_latent(posteriors)
    order = np.argsort(-rates, kind="stable")
    chosen = [int(index) for index in order[:rows] if rates[index] > _ACTIVE_NATS]
    if not chosen:
        raise WorkError(
            f"no latent of the model tells more than {_ACTIVE_NATS} nats about an image, so that "
            "there is nothing to traverse; train with a lower beta, or with free_bits"
        )
    latents = np.tile(posteriors.means.mean(axis=0, dtype=np.float64), (len(chosen), steps, 1))
    offsets = np.linspace(-radius, radius, steps)
    scales = _standard_deviations(posteriors)
    for row, index in enumerate(chosen):
        latents[row, :, index] += offsets * scales[index]
    return Traversal(chosen, rates[chosen], latents.astype(np.float32))

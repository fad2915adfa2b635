"""Distributions of latents: the prior, the aggregate posterior, or the neighborhood of an image.

Temperatures and radii are factors of standard deviations.
"""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np

from components.model.embeddings import Embeddings
from components.model.priors.aggregate import AggregatePosterior, fit_aggregate

if TYPE_CHECKING:
    from components.model.vae import VAE

# Latents that are drawn and decoded together; another number changes the draws.
BLOCK_ROWS = 256
# The fit of the aggregate posterior: its components, unless another number is asked for; and how
# many training examples it looks at: a covariance matrix of 100 latents has 5,000 numbers.
COMPONENTS, FIT_EXAMPLES = 20, 20_000
_FIT_SEED = 0


class Sampler(Protocol):
    """A distribution over latents."""

    def draw(
        self, count: int, rng: np.random.Generator, labels: np.ndarray | None = None
    ) -> np.ndarray:
        """Draws, float32 [count, latents], as a function of the state of the generator.

        Args:
          count: number of draws.
          rng: the generator.
          labels: of the draws, integers [count], for the prior of a conditional model.
        """


@dataclasses.dataclass(frozen=True)
class PriorSampler:
    """The prior of a model.

    The temperature scales the normal noise from which the prior computes its draws: in a flow, the
    noise before the flow (Kingma and Dhariwal, 2018), in a hierarchy, that of each level (Vahdat
    and Kautz, 2020).

    Attributes:
      vae: the model.
      temperature: factor of the noise.
    """

    vae: "VAE"
    temperature: float = 1.0

    def draw(
        self, count: int, rng: np.random.Generator, labels: np.ndarray | None = None
    ) -> np.ndarray:
        """See `Sampler.draw`."""
        noise = rng.standard_normal((count, self.vae.latents), np.float32)
        return np.asarray(self.vae.sample_prior(np.float32(self.temperature) * noise, labels))


@dataclasses.dataclass(frozen=True)
class AggregateSampler:
    """A density fitted to the aggregate posterior (Dai and Wipf, 2019).

    Attributes:
      density: the density.
      temperature: factor of the standard deviations of its components.
    """

    density: AggregatePosterior
    temperature: float = 1.0

    @staticmethod
    def fit(
        posteriors: Embeddings, *, components: int = COMPONENTS, temperature: float = 1.0
    ) -> "AggregateSampler":
        """Fits a mixture of normal distributions.

        Args:
          posteriors: those of the training examples.
          components: number of components, at most the number of posteriors.
          temperature: see the class.
        """
        density = fit_aggregate(
            posteriors.means,
            posteriors.log_variances,
            components=min(components, len(posteriors.means)),
            seed=_FIT_SEED,
        )
        return AggregateSampler(density, temperature)

    def draw(
        self, count: int, rng: np.random.Generator, labels: np.ndarray | None = None
    ) -> np.ndarray:
        """See `Sampler.draw`."""
        del labels
        return self.density.sample(count, rng, temperature=self.temperature).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class NearSampler:
    """The neighborhood of an embedding: z = mean + radius * standard deviation * noise.

    At radius 1, the draws are those of the posterior. A latent that the image determines well
    varies less than one that it leaves open.

    Attributes:
      mean: the embedding, float32, shape [latents].
      standard_deviation: that of the posterior, of the same shape.
      radius: factor of the standard deviation.
    """

    mean: np.ndarray
    standard_deviation: np.ndarray
    radius: float

    def draw(
        self, count: int, rng: np.random.Generator, labels: np.ndarray | None = None
    ) -> np.ndarray:
        """See `Sampler.draw`."""
        del labels
        noise = rng.standard_normal((count, len(self.mean)), np.float32)
        return self.mean + np.float32(self.radius) * self.standard_deviation * noise


def draw_blocks(
    sampler: Sampler, count: int, *, seed: int, labels: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yields draws in blocks of `BLOCK_ROWS`, float32 [rows, latents].

    A block is a function of the seed, its number and its labels, so that fewer draws are the first
    ones.

    Args:
      sampler: the distribution to draw from.
      count: number of draws.
      seed: seed of the draws.
      labels: see `Sampler.draw`; integers [count], or one for all draws.
    """
    all_labels = None if labels is None else np.broadcast_to(labels, (count,))
    for number, first in enumerate(range(0, count, BLOCK_ROWS)):
        rng = np.random.default_rng(np.random.SeedSequence([seed, number]))
        block_labels = None
        if all_labels is not None:
            block_labels = np.resize(all_labels[first : first + BLOCK_ROWS], BLOCK_ROWS)
        yield sampler.draw(BLOCK_ROWS, rng, block_labels)[: count - first]


def blocks(latents: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the rows of an array in blocks of `BLOCK_ROWS`."""
    for first in range(0, len(latents), BLOCK_ROWS):
        yield latents[first : first + BLOCK_ROWS]

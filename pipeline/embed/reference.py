"""The data that embeddings are compared with: a random sample of the model's training set."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from components.data.prepared_dataset import PreparedDataset
from components.model.latent_plane import Plane

if TYPE_CHECKING:
    from components.model.vae import VAE

# Enough for a median within a fiftieth of a standard deviation, and few enough for seconds.
_SAMPLE = 4096
# The cumulative probability of a normal distribution one standard deviation below its mean.
_LOWER_QUANTILE = 0.1587


@dataclasses.dataclass(frozen=True)
class Reference:
    """Statistics of the training set that embeddings are compared with.

    Attributes:
      median: median of the ELBOs of the training set, in nats; None if they are not known.
      spread: how far their 15.87 % quantile is below it, in nats: a standard deviation, if they are
        normally distributed.
      center: origin of the plane of `x` and `y`, by latent dimension; empty if there is none.
      axes: the two axes of the plane, by latent dimension.
    """

    median: float | None = None
    spread: float = 1.0
    center: tuple[float, ...] = ()
    axes: tuple[tuple[float, ...], ...] = ()

    def outlier_scores(self, elbo: np.ndarray) -> np.ndarray | None:
        """How far ELBOs are below the median, in units of the spread, float32 [N]; None: unknown.

        About 0 for a typical image of the training set, and 5 or more for one that is unlike all
        of them.
        """
        if self.median is None:
            return None
        return ((self.median - elbo.astype(np.float64)) / self.spread).astype(np.float32)

    def coordinates(self, means: np.ndarray) -> np.ndarray | None:
        """The coordinates of embeddings [N, latents] in the plane, [N, 2]; None: unknown."""
        if not self.center:
            return None
        axes = np.array(self.axes)
        return ((means - np.array(self.center)) @ axes.T).astype(np.float32)


def measure(vae: "VAE", dataset: PreparedDataset | None) -> Reference:
    """The reference of a model.

    Args:
      vae: the model.
      dataset: the dataset that it was trained on; None if it is not available. Then the score is
        unknown, and so is the plane, unless it is the latent space itself.
    """
    from components.model.encode import encode_and_score

    if dataset is None:
        if vae.latents > 2:
            return Reference()
        return _with_plane(Reference(), Plane.of(np.zeros((1, vae.latents))))
    examples = dataset.head("train", _SAMPLE)
    noise = np.random.default_rng(0).standard_normal((len(examples), vae.latents), np.float32)
    scored = encode_and_score(vae, examples.images, noise, examples.labels)
    lower, median = np.quantile(scored.elbo.astype(np.float64), [_LOWER_QUANTILE, 0.5])
    # Equal images have no spread; a nat keeps the scores finite.
    reference = Reference(median=float(median), spread=float(median - lower) or 1.0)
    return _with_plane(reference, Plane.of(scored.means))


def _with_plane(reference: Reference, plane: Plane) -> Reference:
    return dataclasses.replace(
        reference,
        center=tuple(map(float, plane.center)),
        axes=tuple(tuple(map(float, axis)) for axis in plane.axes),
    )

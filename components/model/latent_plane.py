"""The latent space, seen in two dimensions."""

import dataclasses
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np


@dataclasses.dataclass(frozen=True)
class Plane:
    """A plane through the latent space.

    Attributes:
      center: [latents].
      axes: [2, latents], orthonormal rows.
      scales: [2], standard deviation of the embeddings along each axis; 1 for the prior's own.
      names: of the two axes.
    """

    center: np.ndarray
    axes: np.ndarray
    scales: np.ndarray
    names: tuple[str, str]

    @staticmethod
    def of(means: np.ndarray) -> "Plane":
        """The latent space itself if it has two dimensions, else the plane of the two leading
        principal components of `means` [N, latents]."""
        latents = means.shape[1]
        if latents <= 2:
            axes = np.eye(2, latents, dtype=np.float32)
            return Plane(np.zeros(latents), axes, np.ones(2), ("latent 1", "latent 2"))
        center = means.mean(axis=0)
        _, singular, components = np.linalg.svd(means - center, full_matrices=False)
        # A component's sign is arbitrary; its largest entry is made positive.
        largest = np.abs(components).argmax(axis=1)
        components *= np.sign(components[np.arange(len(components)), largest])[:, np.newaxis]
        shares = np.square(singular) / np.square(singular).sum()
        first, second = (
            f"principal component {index + 1} ({shares[index]:.0%} of variance)" for index in (0, 1)
        )
        scales = singular[:2] / np.sqrt(len(means))
        return Plane(center, components[:2], scales, (first, second))

    def project(self, means: np.ndarray) -> np.ndarray:
        """Coordinates in the plane, [N, 2]."""
        return (means - self.center) @ self.axes.T

    def grid(self, quantiles: Sequence[float]) -> np.ndarray:
        """Latents [Q * Q, latents] at the normal distribution's `quantiles`; rows go up the
        second axis, columns along the first."""
        steps = np.array([NormalDist().inv_cdf(quantile) for quantile in quantiles])
        vertical, horizontal = np.meshgrid(steps, steps, indexing="ij")
        points = np.stack([horizontal.ravel(), vertical.ravel()], axis=1) * self.scales
        return (self.center + points @ self.axes).astype(np.float32)

"""A plane through the latent space, for figures in two dimensions."""

import dataclasses
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np


@dataclasses.dataclass(frozen=True)
class Plane:
    """A plane through the latent space, with its own coordinate system.

    Attributes:
      center: the origin, shape [latents].
      axes: orthonormal rows, shape [2, latents]. With one latent dimension, the second row is zero.
      scales: standard deviation along each axis, shape [2]: that of the embeddings, or 1 if the
        axes are latent dimensions, whose prior is standard normal.
      names: name of each axis.
      distribution: what the scales are the standard deviations of: `the prior` or `the embeddings`.
    """

    center: np.ndarray
    axes: np.ndarray
    scales: np.ndarray
    names: tuple[str, str]
    distribution: str

    @staticmethod
    def of(means: np.ndarray) -> "Plane":
        """The plane that shows embeddings best.

        With at most two latent dimensions, it is the latent space itself; with more, it is spanned
        by the two leading principal components.

        Args:
          means: embeddings, shape [N, latents].
        """
        latents = means.shape[1]
        if latents <= 2:
            axes = np.eye(2, latents, dtype=np.float32)
            names = ("latent 1", "latent 2" if latents == 2 else "no second latent")
            return Plane(np.zeros(latents), axes, np.ones(2), names, "the prior")
        # Principal components are the right singular vectors of the centered data. Their variances
        # are the squared singular values divided by N.
        center = means.mean(axis=0)
        # A single example has only one component; with a copy of it there are two.
        centered = np.resize(means - center, (max(2, len(means)), latents))
        _, singular, components = np.linalg.svd(centered, full_matrices=False)
        # The sign of a component is arbitrary: make its largest entry positive.
        largest = np.abs(components).argmax(axis=1)
        components *= np.sign(components[np.arange(len(components)), largest])[:, np.newaxis]
        # All are 0 if the embeddings are equal.
        shares = np.square(singular) / (np.square(singular).sum() or 1.0)
        first, second = (
            f"principal component {index + 1} ({shares[index]:.0%} of variance)" for index in (0, 1)
        )
        scales = singular[:2] / np.sqrt(len(means))
        return Plane(center, components[:2], scales, (first, second), "the embeddings")

    def project(self, means: np.ndarray) -> np.ndarray:
        """The coordinates of embeddings [N, latents] in the plane, shape [N, 2]."""
        return (means - self.center) @ self.axes.T

    def grid(self, quantiles: Sequence[float]) -> np.ndarray:
        """The latents of a square grid of points in the plane.

        Args:
          quantiles: Q probabilities in (0, 1). Along each axis, the grid is at these quantiles of
            a normal distribution with the axis's scale.

        Returns:
          Latents, float32, shape [Q * Q, latents]. The point at row i and column j, with index
          Q * i + j, is at quantile j of the first axis and quantile i of the second.
        """
        # z = center + Σ_k scale_k Φ⁻¹(quantile_k) axis_k
        steps = np.array([NormalDist().inv_cdf(quantile) for quantile in quantiles])
        vertical, horizontal = np.meshgrid(steps, steps, indexing="ij")
        points = np.stack([horizontal.ravel(), vertical.ravel()], axis=1) * self.scales
        return (self.center + points @ self.axes).astype(np.float32)

"""Interpolation between vectors of latents: points on arcs or on straight lines."""

import numpy as np

from components.model.architecture import Architecture

# Two vectors count as parallel if the sine of the angle between them is smaller.
_MIN_SINE = 1e-6


def follows_sphere(architecture: Architecture) -> bool:
    """Whether interpolation is along arcs: the prior is the standard normal distribution.

    Its draws are near a sphere, which a straight line between two of them leaves.
    """
    return architecture.prior == "standard_normal" and architecture.levels == 1


def interpolate(
    architecture: Architecture, first: np.ndarray, last: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """Points on the paths that suit the prior of a model: arcs, or straight lines.

    Args:
      architecture: that of the model.
      first: where the paths begin, shape [N, latents].
      last: where they end, of the same shape.
      shares: how far along its path each point is, from 0 to 1, float32 [S].

    Returns:
      float32, shape [N, S, latents].
    """
    return (arcs if follows_sphere(architecture) else lines)(first, last, shares)


def lines(first: np.ndarray, last: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points on straight lines between rows: [N, latents] and [S] -> [N, S, latents]."""
    weights = shares[:, np.newaxis]
    return (1 - weights) * first[:, np.newaxis] + weights * last[:, np.newaxis]


def arcs(first: np.ndarray, last: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points on arcs between rows (Shoemake, 1985): [N, latents] and [S] -> [N, S, latents].

    Between parallel rows, where there is no arc or no single one, they are on a straight line.
    """
    # z(t) = sin((1-t)θ) / sin θ a + sin(tθ) / sin θ b, where θ is the angle between a and b
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(last, axis=1)
    products = (first * last).sum(axis=1)
    cosines = np.divide(products, lengths, out=np.ones_like(lengths), where=lengths > 0)
    angles = np.arccos(np.clip(cosines, -1, 1))[:, np.newaxis, np.newaxis]
    sines, weights = np.sin(angles), shares[:, np.newaxis]
    is_arc = sines > _MIN_SINE
    scale = np.divide(1, sines, out=np.zeros_like(sines), where=is_arc)
    points = scale * (
        np.sin((1 - weights) * angles) * first[:, np.newaxis]
        + np.sin(weights * angles) * last[:, np.newaxis]
    )
    return np.where(is_arc, points, lines(first, last, shares)).astype(np.float32)

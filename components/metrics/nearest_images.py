"""The training images that samples resemble most: whether a model has memorized its examples."""

from collections.abc import Iterable

import numpy as np


def nearest_images(
    queries: np.ndarray, batches: Iterable[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The image at the smallest Euclidean distance to each of some images.

    Args:
      queries: uint8, shape [N, height, width, channels].
      batches: the images to look among, uint8, shape [M, height, width, channels]; at least one in
        all. One batch is held at a time.

    Returns:
      The nearest images, uint8, of the shape of `queries`; in a tie, the first. And their
      distances: the root of the mean squared difference of intensities from 0 to 1, float64 [N].
    """
    # Squared distances of bytes are whole numbers, which float64 holds exactly.
    points = queries.reshape(len(queries), -1).astype(np.float64)
    smallest = np.full(len(queries), np.inf)
    nearest = np.zeros_like(queries)
    lengths = np.einsum("nd,nd->n", points, points)
    for images in batches:
        others = images.reshape(len(images), -1).astype(np.float64)
        # |q - x|^2 = |q|^2 - 2 q·x + |x|^2
        distances = points @ others.T
        distances *= -2
        distances += np.einsum("nd,nd->n", others, others)
        found = distances.argmin(axis=1)
        distance = distances[np.arange(len(points)), found] + lengths
        rows = np.flatnonzero(distance < smallest)
        smallest[rows], nearest[rows] = distance[rows], images[found[rows]]
    return nearest, np.sqrt(smallest / points.shape[1]) / 255

"""Principal components of images, for a model to start from."""

import dataclasses
import math

import numpy as np

from components.base.shapes import Shape
from components.model.pixels import to_unit

# The images that the components are computed from: their number, and their bytes as float32. More
# images would change little and take longer than a few seconds.
_MAX_IMAGES, _MAX_BYTES = 4096, 2**28
_ITERATIONS = 10
# The smallest mean squared error of an image that counts: that of half a level of 255. An image
# that is reconstructed better has no more weight than one with this error.
_LEAST_ERROR = (0.5 / 255) ** 2


@dataclasses.dataclass(frozen=True)
class PrincipalComponents:
    """Probabilistic principal components: x = mean + directions · scales · z + noise · e.

    z and e are standard normal.

    Attributes:
      mean: float32, shape [values], where an image has height * width * channels values.
      directions: orthonormal columns, float32, shape [values, components]; those beyond the number
        of values are 0.
      scales: standard deviation along each direction, float32, shape [components], falling.
      noise: standard deviation of what is left, for each value.
      channels: of the images.
    """

    mean: np.ndarray
    directions: np.ndarray
    scales: np.ndarray
    noise: float
    channels: int


def sufficient_images(image_shape: Shape) -> int:
    """The number of images of a shape that `of_images` needs at most."""
    return max(1, min(_MAX_IMAGES, _MAX_BYTES // (4 * math.prod(image_shape))))


def of_images(images: np.ndarray, components: int) -> PrincipalComponents:
    """The principal components of images, where each image has its own scale of the noise.

    The log-density of an image under a normal distribution with the image's own scale falls with
    the logarithm of its squared error: doubling the error costs as much where it is small as where
    it is large. Images are therefore weighted by the reciprocals of their squared errors. The
    errors depend on the components, so weights and components are computed alternately.

    Args:
      images: uint8, shape [N, height, width, channels].
      components: number of components; those beyond the rank of the images have scale 0.

    Returns:
      The components, a function of the images alone.
    """
    x = to_unit(images.reshape(len(images), -1))
    rng = np.random.default_rng(0)
    rank = min(components, x.shape[1])
    directions = _orthonormal(rng.standard_normal((x.shape[1], rank), np.float32))
    weights = np.ones(len(x), np.float32)
    for _ in range(_ITERATIONS):
        mean = np.average(x, axis=0, weights=weights).astype(np.float32)
        centered = x - mean
        # A step of orthogonal iteration with the weighted covariance matrix.
        coordinates = centered @ directions
        directions = _orthonormal(centered.T @ (weights[:, np.newaxis] * coordinates))
        errors = _squared_errors(centered, directions)
        weights = 1 / np.maximum(errors, _LEAST_ERROR)
    coordinates = centered @ directions
    # Rotated, so that the coordinates are uncorrelated.
    covariance = coordinates.T @ coordinates / len(x)
    variances, rotation = np.linalg.eigh(covariance)
    variances, directions = variances[::-1], directions @ rotation[:, ::-1]
    # A direction is as good as its opposite. A resumed run computes the components again, perhaps
    # with another library of linear algebra, and must find the same.
    largest = np.abs(directions).argmax(axis=0)
    directions *= np.sign(directions[largest, np.arange(rank)])
    # The geometric mean of the images' errors, which a few large ones do not determine.
    noise = float(np.exp(np.log(np.maximum(errors, _LEAST_ERROR)).mean() / 2))
    beyond = (0, components - rank)
    return PrincipalComponents(
        mean=mean,
        directions=np.pad(directions, [(0, 0), beyond]),
        scales=np.pad(np.sqrt(np.maximum(variances, 0)), beyond),
        noise=noise,
        channels=images.shape[-1],
    )


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span those of a matrix."""
    return np.linalg.qr(columns)[0]


def _squared_errors(centered: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """The mean squared error of each image, given its coordinates, float32, shape [N]."""
    residuals = centered - (centered @ directions) @ directions.T
    return np.mean(np.square(residuals), axis=1)

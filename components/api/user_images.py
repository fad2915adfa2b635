"""Images as users pass them: arrays or tensors, bytes or intensities, one image or many."""

import dataclasses
from typing import Any

import numpy as np

from components.base.errors import ConfigError, one_line
from components.base.shapes import Shape, format_shape

_RULE = "images are uint8 from 0 to 255, or floats from 0 to 1"
# Values that are converted at once, so that the memory for intermediate results is small.
_BLOCK_VALUES = 1 << 24


@dataclasses.dataclass(frozen=True)
class UserImages:
    """Images in the form that models take, and what to restore the user's form with.

    Attributes:
      pixels: uint8, shape [N, height, width, channels], N > 0.
      is_single: whether it was one image, without the axis of the batch.
      has_channels: whether there was an axis for the channels.
    """

    pixels: np.ndarray
    is_single: bool
    has_channels: bool

    def __len__(self) -> int:
        return len(self.pixels)

    @staticmethod
    def of(images: Any, image_shape: Shape) -> "UserImages":
        """The images of a user.

        Args:
          images: one image or a batch of images, as an array or anything that NumPy converts to
            one: uint8, or floats in [0, 1]. The axis of the channels may be left out if there is
            one channel.
          image_shape: (height, width, channels) that every image must have.

        Raises:
          ConfigError: they are of another shape or number type, or a value is out of range.
        """
        array = as_array(images)
        shape = image_shape if image_shape[2] > 1 else image_shape[:2]
        has_channels = array.shape[-3:] == image_shape
        expected = image_shape if has_channels else shape
        axes = array.ndim - len(expected)
        if array.shape[axes:] != expected or axes not in (0, 1):
            raise ConfigError(
                f"the images have shape {list(array.shape)}, but the model takes "
                f"{format_shape(image_shape)} images (height x width x channels): one, or a batch "
                "[N, height, width, channels]; resize or convert them, or choose another model"
            )
        pixels = to_pixels(array).reshape(-1, *image_shape)
        if not len(pixels):
            raise ConfigError("there are no images: the batch is empty; pass one or more")
        return UserImages(pixels, is_single=axes == 0, has_channels=has_channels)

    def rows(self, values: np.ndarray) -> np.ndarray:
        """Results with a row for each image, [N, ...]; only the row if there is a single image."""
        return values[0] if self.is_single else values

    def pictures(self, images: np.ndarray) -> np.ndarray:
        """Images [N, ..., height, width, channels] with the axes that the user's images have."""
        return self.rows(images if self.has_channels else images[..., 0])


def as_array(images: Any) -> np.ndarray:
    """A user's images as an array.

    Raises:
      ConfigError: they are neither uint8 nor floats.
    """
    array = numbers("the images", images)
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise ConfigError(f"{_RULE}; convert them. Received: dtype={array.dtype}")
    return array


def numbers(name: str, values: Any, dtype: Any = None) -> np.ndarray:
    """A user's values as an array.

    Args:
      name: name of the values, for the error message.
      values: an array, a tensor, or nested sequences of numbers.
      dtype: type of the elements; None for the one that they have.

    Raises:
      ConfigError: they do not form an array; their rows may have different lengths.
    """
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} cannot be converted to an array: {one_line(error)}") from None


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Bytes as they are; floats in [0, 1] rounded to the nearest of the 256 levels of a byte.

    Args:
      images: uint8 or floats, of any shape.

    Returns:
      uint8, of the same shape.

    Raises:
      ConfigError: a float is not in [0, 1].
    """
    if images.dtype == np.uint8 or not images.size:
        return images.astype(np.uint8, copy=False)
    # Comparisons with NaN are false.
    if not (images.min() >= 0 and images.max() <= 1):
        raise ConfigError(
            f"{_RULE}; divide by 255, or scale them to [0, 1]. "
            f"Received: dtype={images.dtype}, values from {images.min():g} to {images.max():g}"
        )
    pixels = np.empty(images.shape, np.uint8)
    # A block is some of the images.
    size = max(1, _BLOCK_VALUES * len(images) // images.size)
    for first in range(0, len(images), size):
        block = images[first : first + size]
        pixels[first : first + size] = np.rint(block * np.float32(255))
    return pixels

"""Pixels as intensities, and batches of images, for the model."""

import math
from typing import TYPE_CHECKING, overload

import numpy as np

from components.base.shapes import Shape

if TYPE_CHECKING:
    import tensorflow as tf


_MAX_BATCH, _MAX_BATCH_PIXELS = 1000, 1 << 22
# With 64 channels in float32, the largest layer of a batch has 64 MiB.
_MAX_FORWARD_BATCH, _MAX_FORWARD_PIXELS = 500, 1 << 18


def batch_size(image_shape: Shape) -> int:
    """The number of images that an inference computes at once: fewer if they are large.

    A network holds the outputs of its layers for the whole batch.
    """
    return min(_MAX_BATCH, max(1, _MAX_BATCH_PIXELS // math.prod(image_shape[:2])))


def forward_batch_size(image_shape: Shape) -> int:
    """The number of images in a batch of a long stream, on a CPU.

    It is smaller than `batch_size`: the outputs of a layer are then still in the caches of a CPU
    when the next layer reads them, and the memory of a worker is bounded.
    """
    return min(_MAX_FORWARD_BATCH, max(1, _MAX_FORWARD_PIXELS // math.prod(image_shape[:2])))


def part_of(rows: np.ndarray | None, first: int, size: int) -> np.ndarray | None:
    """The at most `size` rows from `first` on, such as labels; None if there are no rows."""
    return None if rows is None else rows[first : first + size]


@overload
def to_unit(pixels: np.ndarray) -> np.ndarray: ...


@overload
def to_unit(pixels: "tf.Tensor") -> "tf.Tensor": ...


def to_unit(pixels):
    """Intensities in [0, 1], float32, of uint8 pixels of any shape.

    A NumPy array gives a NumPy array and a tensor gives a tensor, with the same values. In a graph,
    TensorFlow may multiply by 1/255 instead of dividing, which can change the last bit.
    """
    if isinstance(pixels, np.ndarray):
        return pixels.astype(np.float32) / 255
    # Imported here, because callers with a NumPy array need no TensorFlow.
    import tensorflow as tf

    return tf.cast(pixels, tf.float32) / 255

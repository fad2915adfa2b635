"""Pixels as intensities: the one place that scales images for the model."""

from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf


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

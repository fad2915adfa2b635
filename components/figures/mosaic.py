"""Mosaics: many images joined into one picture.

This module needs only NumPy. The trainer shows mosaics in TensorBoard, and importing matplotlib
would delay its start.
"""

import numpy as np


def mosaic(images: np.ndarray, *, gap: tuple[int, int]) -> np.ndarray:
    """Joins images into one picture, uint8 RGB of shape [height, width, 3].

    Args:
      images: shape [rows, columns, height, width, channels]; floats outside [0, 1] are clipped.
      gap: white pixels between two rows, and between two columns.

    Raises:
      ValueError: the images have an unsupported shape or dtype.
    """
    check_images(images)
    rows, columns, height, width = images.shape[:4]
    # Each image is a white cell with the gap below and to the right of it.
    cells = np.full((rows, height + gap[0], columns, width + gap[1], 3), 255, np.uint8)
    cells[:, :height, :, :width] = to_bytes(images).transpose(0, 2, 1, 3, 4)
    picture = cells.reshape(rows * (height + gap[0]), columns * (width + gap[1]), 3)
    return picture[: len(picture) - gap[0], : picture.shape[1] - gap[1]]


def check_images(images: np.ndarray) -> None:
    """Checks that an array holds rows and columns of images.

    Raises:
      ValueError: it does not; the message names the shape or dtype received.
    """
    if images.ndim != 5 or images.shape[-1] not in (1, 3):
        raise ValueError(
            "images must have shape [rows, columns, height, width, channels], with 1 or 3 "
            f"channels. Received: shape={images.shape}"
        )
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images must be uint8 or floats. Received: dtype={images.dtype}")


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Converts floats in [0, 1] to uint8, clipped and rounded; returns uint8 unchanged."""
    if images.dtype == np.uint8:
        return images
    return np.rint(255 * images.clip(0, 1)).astype(np.uint8)

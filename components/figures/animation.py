"""Animations: images shown one after the other, forwards and backwards, in a lossless WebP file.

This module needs only NumPy and Pillow.
"""

import io
import itertools

import numpy as np
from etils import epath
from PIL import Image

from components.figures.mosaic import mosaic

# Bounds of the longer side of a frame, in pixels.
_MIN_SIDE, _MAX_SIDE = 256, 768
_FRAME_MILLISECONDS = 120


def write_animation(frames: np.ndarray, path: epath.PathLike) -> None:
    """Writes an animation that is repeated without end.

    A frame shows several images side by side. Small frames are enlarged by a whole number, large
    ones are reduced.

    Args:
      frames: images, uint8 or floats in [0, 1], shape
        [frames, rows, columns, height, width, channels].
      path: WebP file to write; equal arguments give equal bytes.

    Raises:
      ValueError: the images have an unsupported shape or dtype.
    """
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    pictures = (_picture(frames[index]) for index in order)
    first = next(pictures)
    file = io.BytesIO()
    # A generator, so that one frame is in memory at a time.
    first.save(
        file,
        "WEBP",
        save_all=True,
        append_images=itertools.chain(pictures),
        duration=_FRAME_MILLISECONDS,
        loop=0,
        lossless=True,
    )
    epath.Path(path).write_bytes(file.getvalue())


def _picture(images: np.ndarray) -> Image.Image:
    """A frame of images [rows, columns, height, width, channels]."""
    picture = Image.fromarray(mosaic(images, gap=(1, 1)))
    longest = max(picture.size)
    scale = max(1, -(-_MIN_SIDE // longest)) if longest <= _MAX_SIDE else _MAX_SIDE / longest
    width, height = (max(1, round(scale * side)) for side in picture.size)
    resampling = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    return picture.resize((width, height), resampling)

"""Pictures inside a page: images joined with transparent gaps, sprites, and data URIs."""

import base64
import dataclasses
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor

from components.figures.mosaic import check_images, to_bytes

# The sides of an image on a page, in pixels: small ones are enlarged to at least the first, by a
# whole number, and large ones are reduced to the second.
SHOWN_SIDE, MAX_SIDE = 48, 64
# Larger images in color are stored as JPEG: details that nobody sees, for a tenth of the bytes.
_LOSSLESS_SIDE = 32
_QUALITY = {"jpeg": 88, "webp": 88}
# Pixels of a block of a JPEG file. An image that begins at a block has no part of its neighbor.
_BLOCK = 8
_DOTS_SIDE = 640  # Pixels of the picture of points.


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture on a page.

    Attributes:
      uri: its data URI.
      width: the width at which it is shown, in pixels of the page.
      height: the height.
    """

    uri: str
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class Sprite:
    """Many images of one shape in one picture, from left to right and from the top down.

    Attributes:
      uri: the data URI of the picture.
      columns: number of images in a row.
      size: (height, width) of an image.
      pitch: the distance of an image from the one above it, and from the one to the left of it.
      width: width of the whole picture.
      height: height of the whole picture.
    """

    uri: str
    columns: int
    size: tuple[int, int]
    pitch: tuple[int, int]
    width: int
    height: int


def tiles(images: np.ndarray, *, gap: int | None = None, side: int = MAX_SIDE) -> Picture:
    """Images in rows and columns, with transparent gaps, so that any page can be behind them.

    Args:
      images: shape [rows, columns, height, width, channels], uint8 or floats in [0, 1].
      gap: pixels between two images; None for a share of their shorter side.
      side: the largest side of an image; larger ones are reduced.

    Raises:
      ValueError: the images have an unsupported shape or dtype.
    """
    check_images(images)
    rows, columns = images.shape[:2]
    flat = reduced(to_bytes(images).reshape(-1, *images.shape[2:]), side=side)
    height, width = flat.shape[1:3]
    gap = max(1, min(height, width) // 14) if gap is None else gap
    cells = np.zeros((rows, height + gap, columns, width + gap, 4), np.uint8)
    cells[:, :height, :, :width, :3] = flat.reshape(rows, columns, height, width, -1).transpose(
        0, 2, 1, 3, 4
    )
    cells[:, :height, :, :width, 3] = 255
    joined = cells.reshape(rows * (height + gap), columns * (width + gap), 4)
    joined = joined[: len(joined) - gap, : joined.shape[1] - gap]
    scale = max(1, round(SHOWN_SIDE / max(height, width)))
    is_lossy = images.shape[-1] == 3 and max(height, width) > _LOSSLESS_SIDE
    # WebP, because JPEG has no transparent pixels.
    uri = data_uri(joined, kind="webp" if is_lossy else "png")
    return Picture(uri, joined.shape[1] * scale, joined.shape[0] * scale)


def sprite(images: np.ndarray, *, side: int, max_bytes: int) -> Sprite | None:
    """One picture of many images: a PNG file of gray images, a JPEG file of colored ones.

    Args:
      images: uint8, shape [N, height, width, channels], N > 0.
      side: the largest side of an image; larger ones are reduced.
      max_bytes: largest length of the data URI.

    Returns:
      None if the data URI would be longer.
    """
    images = reduced(images, side=side)
    count, height, width, channels = images.shape
    is_lossy = channels == 3
    pitch = (_round_up(height), _round_up(width)) if is_lossy else (height, width)
    # About as wide as high.
    columns = max(1, round(math.sqrt(count * pitch[0] / pitch[1])))
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, *pitch, channels), np.uint8)
    cells[:count, :height, :width] = images
    grid = cells.reshape(rows, columns, *pitch, channels).transpose(0, 2, 1, 3, 4)
    picture = grid.reshape(rows * pitch[0], columns * pitch[1], channels)
    uri = data_uri(picture, kind="jpeg" if is_lossy else "png")
    if len(uri) > max_bytes:
        return None
    shape = picture.shape
    return Sprite(uri, columns, (height, width), pitch, width=shape[1], height=shape[0])


def reduced(images: np.ndarray, *, side: int) -> np.ndarray:
    """Images whose longest side is at most `side`, uint8 [N, height, width, channels]."""
    height, width, channels = images.shape[1:]
    scale = side / max(height, width)
    if scale >= 1:
        return images
    size = max(1, round(scale * width)), max(1, round(scale * height))
    smaller = np.empty((len(images), size[1], size[0], channels), np.uint8)
    for index, image in enumerate(images):
        pixels = _as_pillow(image).resize(size, Image.Resampling.BOX)
        smaller[index] = np.asarray(pixels).reshape(smaller.shape[1:])
    return smaller


def data_uri(picture: np.ndarray, *, kind: str = "png") -> str:
    """A picture as a data URI.

    Args:
      picture: uint8, shape [height, width, channels] with 1 (gray), 3 (RGB) or 4 (RGBA) channels.
      kind: the format: `png`, `jpeg` or `webp`.
    """
    buffer = io.BytesIO()
    options = {"optimize": True} if kind == "png" else {"quality": _QUALITY[kind]}
    _as_pillow(picture).save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _as_pillow(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def _round_up(side: int) -> int:
    """The side of whole blocks."""
    return -(-side // _BLOCK) * _BLOCK


def dots(
    x: Sequence[float], y: Sequence[float], classes: Sequence[int], colors: Sequence[str]
) -> str:
    """Points as the data URI of a square picture, for readers that run no scripts.

    Args:
      x: finite numbers, one for each of N points, N > 0.
      y: the same.
      classes: N indices into `colors`.
      colors: such as `#0072b2`.
    """
    palette = np.array([ImageColor.getrgb(color) for color in colors], np.uint8)
    picture = np.zeros((_DOTS_SIDE, _DOTS_SIDE, 4), np.uint8)
    left, top = _places(np.asarray(x)), _DOTS_SIDE - 4 - _places(np.asarray(y))
    for across, down in np.ndindex(3, 3):
        picture[top + down, left + across, :3] = palette[np.asarray(classes)]
        picture[top + down, left + across, 3] = 255
    return data_uri(picture)


def _places(values: np.ndarray) -> np.ndarray:
    """Pixels along a side: the central 99.6 % of the values, and the others at the ends."""
    low, high = np.quantile(values, [0.002, 0.998])
    shares = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    return np.rint(1 + shares * (_DOTS_SIDE - 6)).astype(int)

"""Figures made of images: the decoded latent space, samples and reconstructions."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from components.figures.mosaic import check_images, mosaic, to_bytes
from components.figures.style import DPI, INK, STYLE, FigurePath, new_figure, save

# Bounds of a picture, in pixels: its longest side, and what a reduced image keeps. The shorter side
# has priority, so that thin images stay visible.
_MAX_SIDE = 4096
_REDUCED_LONGER, _REDUCED_SHORTER = 200, 8


@matplotlib.rc_context(STYLE)
def latent_grid(
    images: np.ndarray,
    *,
    quantiles: Sequence[float],
    title: str,
    subtitle: str,
    axis_labels: tuple[str, str],
    path: FigurePath,
) -> None:
    """Draws images decoded over a grid of quantiles, as one seamless mosaic.

    If the picture would be too large, large images are reduced, and of long ones fewer are shown.

    Args:
      images: images[i, j] is decoded from the latent at `quantiles[i]` of the vertical axis and
        `quantiles[j]` of the horizontal axis. Row 0 is drawn at the bottom, so that directions
        agree with the figure of the encodings.
      quantiles: probabilities in increasing order.
      title: title of the figure.
      subtitle: text below the title.
      axis_labels: labels of the horizontal and of the vertical axis.
      path: the file to write, or several; see `style.save`.

    Raises:
      ValueError: the images have an unsupported shape or dtype, or not one row and one column per
        quantile.
    """
    check_images(images)
    count = len(quantiles)
    if images.shape[:2] != (count, count):
        raise ValueError(
            f"images must have {count} rows and columns, one per quantile. "
            f"Received: shape={images.shape}"
        )
    rows, columns = (_spread(count, shown) for shown in _num_shown(images.shape[:4]))
    images = _reduced(images[rows][:, columns])
    height, width = images.shape[2:4]
    figure, axes = _show(mosaic(images[::-1], gap=(0, 0)), tile=(height, width))
    names = np.array([f"{quantile:.2f}" for quantile in quantiles])
    axes.set_xticks((np.arange(len(columns)) + 0.5) * width, labels=names[columns])
    axes.set_yticks((np.arange(len(rows))[::-1] + 0.5) * height, labels=names[rows])
    axes.set_xlabel(axis_labels[0])
    axes.set_ylabel(axis_labels[1])
    save(figure, title, subtitle, path)


@matplotlib.rc_context(STYLE)
def image_grid(
    images: np.ndarray,
    *,
    row_names: Sequence[str] = (),
    title: str,
    subtitle: str,
    path: FigurePath,
) -> None:
    """Draws images, such as samples from the prior, with small gaps between them.

    If the picture would be too large, large images are reduced, and of long ones fewer are shown.

    Args:
      images: shape [rows, columns, height, width, channels].
      row_names: what each row shows; empty for nothing.
      title: title of the figure.
      subtitle: text below the title.
      path: the file to write, or several; see `style.save`.

    Raises:
      ValueError: the images have an unsupported shape or dtype, or there are not as many names as
        rows.
    """
    check_images(images)
    if row_names and len(row_names) != len(images):
        raise ValueError(f"row_names must contain {len(images)} names. Received: {len(row_names)}")
    rows, columns = _num_shown(images.shape[:4])
    images = _reduced(images[:rows, :columns])
    gap = _gap(images)
    figure, axes = _show(mosaic(images, gap=(gap, gap)), tile=images.shape[2:4])
    if row_names:
        height = images.shape[2]
        middles = np.arange(rows) * (height + gap) + height / 2
        axes.set_yticks(middles, labels=row_names[:rows])
        axes.tick_params(axis="y", labelsize=9, labelcolor=INK)
    save(figure, title, subtitle, path)


@matplotlib.rc_context(STYLE)
def reconstructions(
    originals: np.ndarray,
    reconstructions: np.ndarray,
    *,
    class_names: Sequence[str],
    title: str,
    subtitle: str,
    path: FigurePath,
) -> None:
    """Draws images above their reconstructions, a pair of rows for each class.

    If the picture would be too large, large images are reduced, and of long ones fewer are shown.

    Args:
      originals: images, one class per row.
      reconstructions: images of the same shape.
      class_names: name of the class of each row.
      title: title of the figure.
      subtitle: text below the title.
      path: the file to write, or several; see `style.save`.

    Raises:
      ValueError: the images have an unsupported shape or dtype, or the arguments do not match.
    """
    check_images(originals)
    if reconstructions.shape != originals.shape:
        raise ValueError(
            f"reconstructions must have the shape of the originals, {originals.shape}. "
            f"Received: shape={reconstructions.shape}"
        )
    count = len(originals)
    if len(class_names) != count:
        raise ValueError(f"class_names must contain {count} names. Received: {len(class_names)}")
    count, columns = _num_shown(originals.shape[:4], images_per_cell=2)
    above, below = (
        _reduced(images[:count, :columns], images_per_cell=2)
        for images in (originals, reconstructions)
    )
    (height, width), gap = above.shape[2:4], _gap(above)
    # Each pair becomes one tall image, with a white gap between original and reconstruction.
    white = np.full_like(above[:, :, :gap], 255)
    pairs = np.concatenate([above, white, below], axis=2)
    figure, axes = _show(mosaic(pairs, gap=(5 * gap, gap)), tile=(height, width))

    # Class names label each pair (major ticks); "original" and "reconstruction" label its two rows
    # (minor ticks).
    tops = np.arange(count) * (2 * height + 6 * gap)
    rows = np.add.outer(tops, [0.5 * height, 1.5 * height + gap]).ravel()
    axes.set_yticks(tops + height + gap / 2, labels=class_names[:count])
    axes.set_yticks(rows, labels=["original", "reconstruction"] * count, minor=True)
    axes.tick_params(axis="y", which="major", pad=70, labelsize=9, labelcolor=INK)
    axes.tick_params(axis="y", which="minor", pad=5, labelsize=7)
    save(figure, title, subtitle, path)


def _num_shown(shape: tuple[int, ...], *, images_per_cell: int = 1) -> tuple[int, int]:
    """Return how many rows and columns of images a picture of bounded size can show.

    Args:
      shape: (rows, columns, height, width) of the images.
      images_per_cell: number of images in a cell, one below the other.
    """
    rows, columns, height, width = shape
    # The smallest magnification at which an image is still visible.
    scale = max(_REDUCED_SHORTER / min(height, width), min(1, _REDUCED_LONGER / max(height, width)))
    cell = scale * (height * images_per_cell + 1), scale * (width + 1)  # With gaps.
    most_rows, most_columns = (max(1, int(_MAX_SIDE / side)) for side in cell)
    return min(rows, most_rows), min(columns, most_columns)


def _spread(count: int, shown: int) -> np.ndarray:
    """Return `shown` of the indices 0 to count - 1, evenly spaced, in order."""
    return np.rint((np.arange(shown) + 0.5) * count / shown - 0.5).astype(int)


def _reduced(images: np.ndarray, *, images_per_cell: int = 1) -> np.ndarray:
    """Return images as uint8, reduced so that a mosaic of them has a bounded size.

    Args:
      images: shape [rows, columns, height, width, channels].
      images_per_cell: number of images in a cell of the mosaic, one below the other.
    """
    rows, columns, height, width, channels = images.shape
    images = to_bytes(images)
    scale = _MAX_SIDE / max(rows * images_per_cell * height, columns * width)
    if scale >= 1:
        return images
    size = max(1, int(scale * height)), max(1, int(scale * width))
    reduced = np.empty((rows, columns, *size, channels), np.uint8)
    for row, column in np.ndindex(rows, columns):
        image = images[row, column]
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        pixels = picture.resize(size[::-1], Image.Resampling.BOX)
        reduced[row, column] = np.asarray(pixels).reshape(*size, channels)
    return reduced


def _gap(images: np.ndarray) -> int:
    """Returns the gap between images in pixels, in proportion to their shorter side."""
    return max(1, min(images.shape[2:4]) // 32)


def _show(picture: np.ndarray, tile: tuple[int, ...]) -> tuple[Figure, Axes]:
    """Shows a picture at an integer magnification; returns the figure and its axes.

    Data coordinates of the axes are the picture's pixels, counted from the top left.

    Args:
      picture: uint8, shape [height, width, 3].
      tile: (height, width) of one image in the picture, which determines the magnification.
    """
    height, width = picture.shape[:2]
    # Enlarge a tile to about 140 figure pixels unless the picture becomes too large, but to at
    # least 48, so that tiny images stay visible.
    smallest, largest = math.ceil(48 / min(tile)), max(1, 140 // max(tile))
    scale = max(smallest, min(largest, 1400 // width, 1600 // height))
    scale = max(1, min(scale, _MAX_SIDE // max(width, height)))
    figure = new_figure(scale * width / DPI, scale * height / DPI)
    axes = figure.add_axes((0, 0, 1, 1), xticks=[], yticks=[])
    axes.imshow(picture, interpolation="nearest", aspect="auto", extent=(0, width, height, 0))
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0)
    return figure, axes

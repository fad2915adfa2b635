"""Figures made of images: the decoded latent space, samples, reconstructions."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.figures.style import DPI, INK, STYLE, new_figure, save


@matplotlib.rc_context(STYLE)
def latent_grid(
    images: np.ndarray,
    *,
    quantiles: Sequence[float],
    title: str,
    subtitle: str,
    axis_labels: tuple[str, str],
    path: epath.PathLike,
) -> None:
    """Draws images decoded over a grid of the prior's quantiles, as one seamless mosaic.

    Args:
        images: [i, j] is decoded where the latent of the vertical axis is at `quantiles[i]` and
            that of the horizontal axis at `quantiles[j]`. Row 0 is at the bottom, so that the
            directions are those of the plot of the encodings.
        quantiles: in increasing order.
    """
    _check_images(images)
    count, (height, width) = len(quantiles), images.shape[2:4]
    if images.shape[:2] != (count, count):
        raise ValueError(
            f"images must have {count} rows and columns, one per quantile. "
            f"Received: shape={images.shape}"
        )
    figure, axes = _show(mosaic(images[::-1], gap=(0, 0)), tile=(height, width))
    names = [f"{quantile:.2f}" for quantile in quantiles]
    axes.set_xticks((np.arange(count) + 0.5) * width, labels=names)
    axes.set_yticks((np.arange(count)[::-1] + 0.5) * height, labels=names)
    axes.set_xlabel(axis_labels[0])
    axes.set_ylabel(axis_labels[1])
    save(figure, title, subtitle, path)


@matplotlib.rc_context(STYLE)
def image_grid(images: np.ndarray, *, title: str, subtitle: str, path: epath.PathLike) -> None:
    """Draws images, such as samples from the prior, with small gaps between them."""
    _check_images(images)
    gap = _gap(images)
    figure, _ = _show(mosaic(images, gap=(gap, gap)), tile=images.shape[2:4])
    save(figure, title, subtitle, path)


@matplotlib.rc_context(STYLE)
def reconstructions(
    originals: np.ndarray,
    reconstructions: np.ndarray,
    *,
    class_names: Sequence[str],
    title: str,
    subtitle: str,
    path: epath.PathLike,
) -> None:
    """Draws images above their reconstructions, for each class a pair of rows.

    Args:
        originals: images, each row of one class.
        reconstructions: images of the same shape.
        class_names: one per row of images.
    """
    _check_images(originals)
    if reconstructions.shape != originals.shape:
        raise ValueError(
            f"reconstructions must have the shape of the originals, {originals.shape}. "
            f"Received: shape={reconstructions.shape}"
        )
    count, (height, width), gap = len(originals), originals.shape[2:4], _gap(originals)
    if len(class_names) != count:
        raise ValueError(f"class_names must hold {count} names. Received: {len(class_names)}")
    above, below = _to_bytes(originals), _to_bytes(reconstructions)
    line = np.full_like(above[:, :, :gap], 255)
    pairs = np.concatenate([above, line, below], axis=2)
    figure, axes = _show(mosaic(pairs, gap=(5 * gap, gap)), tile=(height, width))

    tops = np.arange(count) * (2 * height + 6 * gap)
    rows = np.add.outer(tops, [0.5 * height, 1.5 * height + gap]).ravel()
    axes.set_yticks(tops + height + gap / 2, labels=class_names)
    axes.set_yticks(rows, labels=["original", "reconstruction"] * count, minor=True)
    axes.tick_params(axis="y", which="major", pad=70, labelsize=9, labelcolor=INK)
    axes.tick_params(axis="y", which="minor", pad=5, labelsize=7)
    save(figure, title, subtitle, path)


def mosaic(images: np.ndarray, *, gap: tuple[int, int]) -> np.ndarray:
    """Joins images into one picture, unsigned bytes [height, width, 3].

    Args:
        images: floats outside of [0, 1] are clipped.
        gap: white pixels between two rows of images, and between two columns.
    """
    _check_images(images)
    rows, columns, height, width = images.shape[:4]
    sheet = np.full((rows, height + gap[0], columns, width + gap[1], 3), 255, np.uint8)
    sheet[:, :height, :, :width] = _to_bytes(images).transpose(0, 2, 1, 3, 4)
    picture = sheet.reshape(rows * (height + gap[0]), columns * (width + gap[1]), 3)
    return picture[: len(picture) - gap[0], : picture.shape[1] - gap[1]]


def _check_images(images: np.ndarray) -> None:
    if images.ndim != 5 or images.shape[-1] not in (1, 3):
        raise ValueError(
            "images must have shape [rows, columns, height, width, channels], with 1 or 3 "
            f"channels. Received: shape={images.shape}"
        )
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images must be uint8 or floats. Received: dtype={images.dtype}")


def _to_bytes(images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    return np.rint(255 * images.clip(0, 1)).astype(np.uint8)


def _gap(images: np.ndarray) -> int:
    """Returns a gap between images, in pixels, that looks the same for small and large ones."""
    return max(1, images.shape[3] // 32)


def _show(picture: np.ndarray, tile: tuple[int, ...]) -> tuple[Figure, Axes]:
    """Shows a picture enlarged by a whole number; the axes count its pixels from the top left.

    `tile` is the size of one image in it, which must become neither tiny nor huge.
    """
    height, width = picture.shape[:2]
    smallest, largest = -(-48 // min(tile)), max(1, 140 // max(tile))
    scale = max(smallest, min(largest, 1400 // width, 1600 // height))
    figure = new_figure(scale * width / DPI, scale * height / DPI)
    axes = figure.add_axes((0, 0, 1, 1), xticks=[], yticks=[])
    axes.imshow(picture, interpolation="nearest", aspect="auto", extent=(0, width, height, 0))
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0)
    return figure, axes

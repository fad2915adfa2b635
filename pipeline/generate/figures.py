"""Figures of generated images, which are read back from their files."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from components.data.class_names import display_order, displayed
from components.figures.animation import write_animation
from pipeline.generate import writer
from pipeline.generate.writer import GeneratedImages

CONTACT_SHEET, VARIATIONS = "contact_sheet.png", "variations.png"
INTERPOLATION, TRAVERSAL = "interpolation", "traversal"
# Images that a sheet shows, and those in a row of it; classes, and rows of a traversal.
_MAX_SHOWN, _COLUMNS, _MAX_ROWS = 200, 20, 20
# Rows of a traversal that move at once, in a square; and frames of an animation.
_SIDE, _MAX_FRAMES = 4, 61


def draw_samples(
    images: GeneratedImages, directory: epath.Path, *, by_class: bool, title: str, subtitle: str
) -> None:
    """Draws a contact sheet of the first samples, or of the first ones of each class.

    Args:
      images: what was written.
      directory: where to.
      by_class: whether the classes take turns.
      title, subtitle: the two lines at the top.
    """
    if not by_class:
        pixels = writer.read(directory, range(min(images.count, _MAX_SHOWN)))
        grid, names = _rows_of(pixels, columns=math.ceil(math.sqrt(2 * len(pixels)))), []
    else:
        assert images.labels is not None
        classes = min(images.count, int(images.labels.max()) + 1)
        texts = [f"class {label}" for label in range(classes)]
        order = list(range(classes))
        if images.class_names:
            texts, order = displayed(images.class_names)[0], display_order(images.class_names)
        order = [label for label in order if label < classes][:_MAX_ROWS]
        columns = min(images.count // classes, _COLUMNS)
        numbers = [label + classes * column for label in order for column in range(columns)]
        pixels = writer.read(directory, numbers)
        grid, names = _rows_of(pixels, columns=columns), [texts[label] for label in order]
    _draw_grid(
        grid, row_names=names, title=title, subtitle=subtitle, path=directory / CONTACT_SHEET
    )


def draw_variations(
    images: GeneratedImages,
    directory: epath.Path,
    *,
    original: np.ndarray,
    title: str,
    subtitle: str,
) -> None:
    """Draws an image [height, width, channels], and the first variations of it."""
    pixels = writer.read(directory, range(min(images.count, _MAX_SHOWN - 1)))
    pixels = np.concatenate([original[np.newaxis], pixels])
    grid = _rows_of(pixels, columns=math.ceil(math.sqrt(2 * len(pixels))))
    _draw_grid(grid, title=title, subtitle=subtitle, path=directory / VARIATIONS)


def draw_interpolation(
    images: GeneratedImages,
    directory: epath.Path,
    *,
    ends: tuple[np.ndarray, np.ndarray],
    title: str,
    subtitle: str,
) -> None:
    """Draws the images between two images, as a figure and as an animation.

    Args:
      images: what was written.
      directory: where to.
      ends: uint8, each of shape [height, width, channels].
      title, subtitle: the two lines at the top.
    """
    shown = _spread(images.count, _MAX_FRAMES)
    pixels = writer.read(directory, shown)
    still = pixels[_spread(len(pixels), _MAX_ROWS - 2)]
    row = np.concatenate([ends[0][np.newaxis], still, ends[1][np.newaxis]])
    _draw_grid(
        row[np.newaxis],
        title=title,
        subtitle=f"{subtitle} · the first and the last image are those given",
        path=directory / f"{INTERPOLATION}.png",
    )
    write_animation(pixels[:, np.newaxis, np.newaxis], directory / f"{INTERPOLATION}.webp")


def draw_traversal(
    directory: epath.Path, *, row_names: Sequence[str], steps: int, title: str, subtitle: str
) -> None:
    """Draws a row for each latent, and an animation that moves along all of them at once.

    Args:
      directory: where the images are, and the figures will be.
      row_names: a name for each latent.
      steps: number of images of each latent.
      title, subtitle: the two lines at the top.
    """
    rows = min(len(row_names), _MAX_ROWS)
    columns = _spread(steps, _COLUMNS)
    numbers = [row * steps + column for row in range(rows) for column in columns]
    _draw_grid(
        _rows_of(writer.read(directory, numbers), columns=len(columns)),
        row_names=row_names[:rows],
        title=title,
        subtitle=subtitle,
        path=directory / f"{TRAVERSAL}.png",
    )
    moving = min(rows, _SIDE**2)
    side = math.ceil(math.sqrt(moving))
    frames = [
        _rows_of(writer.read(directory, [row * steps + step for row in range(moving)]), side)
        for step in _spread(steps, _MAX_FRAMES)
    ]
    write_animation(np.stack(frames), directory / f"{TRAVERSAL}.webp")


def _draw_grid(grid: np.ndarray, **options: Any) -> None:
    """Draws images with the options of `image_grid`."""
    # Imports matplotlib, which an artifact that is up to date does not need.
    from components.figures.grids import image_grid

    image_grid(grid, **options)


def _rows_of(images: np.ndarray, columns: int) -> np.ndarray:
    """Images [N, ...] as [rows, columns, ...]; white where there are no more."""
    missing = -len(images) % columns
    white = np.full((missing, *images.shape[1:]), 255, np.uint8)
    return np.concatenate([images, white]).reshape(-1, columns, *images.shape[1:])


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers from 0 to count - 1, evenly spaced, with both ends."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()

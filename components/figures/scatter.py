"""The figure of the encodings: examples in latent space, colored by class."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation

from components.figures.style import GRAY, POINT, STYLE, FigurePath, new_figure, save

# Ten hues that readers with red-green color blindness can distinguish too.
HUES = (
    "#0072b2", "#ffa90e", "#009e73", "#a3154f", "#66ccee",
    "#d55e00", "#b66dff", "#332288", "#5c3a1e", "#ff9da7",
)  # fmt: skip
# Each hue has three shades. More classes share a color bar.
MAX_NAMED_CLASSES = 3 * len(HUES)


@matplotlib.rc_context(STYLE)
def encodings(
    points: np.ndarray,
    labels: np.ndarray,
    *,
    class_names: Sequence[str],
    title: str,
    subtitle: str,
    axis_labels: tuple[str, str],
    path: FigurePath,
) -> None:
    """Draws encoded examples in latent space, colored by class.

    Args:
      points: floats, shape [examples, 2]. The frame excludes distant outliers and points that are
        not finite; a note gives their number.
      labels: integers, shape [examples], indices into `class_names`.
      class_names: up to 30 names are written at the median of their class and in a legend; more
        are shown by a color bar.
      title: title of the figure.
      subtitle: text below the title.
      axis_labels: labels of the horizontal and of the vertical axis.
      path: the file to write, or several; see `style.save`.

    Raises:
      ValueError: shapes or labels do not match, or no point is finite.
    """
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must have shape [examples, 2]. Received: shape={points.shape}")
    if labels.shape != points.shape[:1]:
        raise ValueError(
            f"labels must have shape [examples], which is ({len(points)},). "
            f"Received: shape={labels.shape}"
        )
    finite = np.isfinite(points).all(axis=1)
    if not finite.any():
        raise ValueError(f"points must have at least one finite row. Received: {points}")
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise ValueError(
            f"labels must be in [0, {len(class_names)}), the range of indices into class_names. "
            f"Received: {labels.min()} to {labels.max()}"
        )
    total = len(points)
    points, labels = points[finite], labels[finite]
    low, high = np.transpose([robust_limits(points[:, 0]), robust_limits(points[:, 1])])
    figure = new_figure(*_frame_size(*(high - low)))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set_xlabel(axis_labels[0])
    axes.set_ylabel(axis_labels[1])

    colors = _class_colors(len(class_names))
    # In random order: in the order of the classes, the last class would cover the others.
    order = np.random.default_rng(0).permutation(len(points))
    x, y = points[order].T
    area = np.clip(40_000 / len(points), 4.5, 36)  # In square points.
    alpha = 0.55 if len(points) > 1000 else 0.8
    # In vector formats too: thousands of circles would be megabytes.
    axes.scatter(x, y, s=area, c=colors[labels[order]], alpha=alpha, linewidths=0, rasterized=True)
    if len(class_names) > MAX_NAMED_CLASSES:
        _draw_color_bar(figure, axes, class_names, colors)
    else:
        present, counts = np.unique(labels, return_counts=True)
        names = [class_names[index] for index in present]
        medians = [np.median(points[labels == index], axis=0) for index in present]
        _draw_legend(axes, names, counts, colors[present])
        _draw_names(axes, names, medians, colors[present])
    outside = total - int(((points >= low) & (points <= high)).all(axis=1).sum())
    if outside:
        note = f"{outside:,} of {total:,} points outside the frame"
        axes.set_title(note, loc="right", color=GRAY, fontsize=7.5)
    save(figure, title, subtitle, path)


def robust_limits(values: np.ndarray) -> tuple[float, float]:
    """Returns axis limits (low, high) that exclude distant outliers.

    They include the central 99.6 % of the values and values at most 15 % of its range beyond it.
    """
    values = np.sort(values)
    # With few values, none is an outlier.
    trimmed = math.ceil(0.002 * len(values)) if len(values) >= 20 else 0
    low, high = values[trimmed], values[-1 - trimmed]
    reach = 0.15 * (high - low)
    low, high = max(values[0], low - reach), min(values[-1], high + reach)
    margin = 0.04 * (high - low) or 1.0  # 1.0 if all values are equal.
    return float(low - margin), float(high + margin)


def _frame_size(width: float, height: float) -> tuple[float, float]:
    """Returns a frame size (width, height) in inches for data of some width and height.

    Both axes have the same scale, unless one would become too short.
    """
    longest = max(width, height)
    if min(width, height) < 0.6 * longest:
        return 6, 6
    return 6 * width / longest, 6 * height / longest


def hex_colors(count: int) -> list[str]:
    """The colors of classes in the order in which they are shown, such as `#0072b2`."""
    return [to_hex(color) for color in _class_colors(count)]


def _class_colors(count: int) -> np.ndarray:
    """Returns distinct RGB colors in [0, 1], shape [count, 3]."""
    if count > MAX_NAMED_CLASSES:
        return matplotlib.colormaps["turbo"](np.linspace(0.03, 0.97, count))[:, :3]
    hues = np.array([to_rgb(hue) for hue in HUES])
    return np.concatenate([hues, 0.6 * hues, 0.5 + 0.5 * hues])[:count]


def _draw_legend(axes: Axes, names: Sequence[str], counts: np.ndarray, colors: np.ndarray) -> None:
    """Lists the classes with their numbers of examples, at the right of the frame."""
    dots = [Line2D([], [], linestyle="", marker="o", markersize=5, color=color) for color in colors]
    axes.legend(
        dots,
        [f"{name} ({count:,})" for name, count in zip(names, counts, strict=True)],
        # As many columns as needed at 16 points per line.
        ncols=math.ceil(len(names) / (axes.bbox.height // (16 * POINT))),
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        borderaxespad=0,
        handletextpad=0.2,
        labelspacing=0.7,
    )


def _draw_color_bar(figure: Figure, axes: Axes, names: Sequence[str], colors: np.ndarray) -> None:
    """Draws a color bar with a step per class at the right of the frame.

    If there is no room for all names, every k-th is written.
    """
    # Not BoundaryNorm, which counts in 16 bits.
    steps = ScalarMappable(Normalize(-0.5, len(names) - 0.5), ListedColormap(colors))
    bar = figure.colorbar(steps, cax=axes.inset_axes((1.03, 0, 0.03, 1)))
    stride = math.ceil(len(names) / (axes.bbox.height // (11 * POINT)))
    bar.set_ticks(range(0, len(names), stride), labels=names[::stride])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    bar.ax.invert_yaxis()
    bar.ax.tick_params(length=2, labelsize=7)


def _draw_names(
    axes: Axes, names: Sequence[str], medians: Sequence[np.ndarray], colors: np.ndarray
) -> None:
    """Writes the name of each class just above its median, with a white halo."""
    # Light colors are hard to read: limit the brightness to 0.3, with the weights of Rec. 709.
    colors = colors * np.minimum(1, 0.3 / (colors @ (0.2126, 0.7152, 0.0722)))[:, None]
    style: dict[str, Any] = {"ha": "center", "va": "center", "weight": "bold"}
    texts = [
        axes.annotate(name, (x, y), (0, 8), textcoords="offset points", color=color, **style)
        for name, (x, y), color in zip(names, medians, colors, strict=True)
    ]
    for text in texts:
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])
    _separate(texts)


def _separate(texts: list[Annotation]) -> None:
    """Moves overlapping texts apart vertically."""
    texts.sort(key=lambda text: text.get_window_extent().y0)
    boxes = np.array([text.get_window_extent().padded(POINT).extents for text in texts])
    start = boxes[:, 1].copy()
    # Separating one pair may make another overlap, so repeat.
    for _ in range(100):
        for lower, upper in itertools.combinations(boxes, 2):
            overlap = np.minimum(lower[2:], upper[2:]) - np.maximum(lower[:2], upper[:2])
            if overlap.min() > 0:
                lower[1::2] -= overlap[1] / 2
                upper[1::2] += overlap[1] / 2
    for text, shift in zip(texts, boxes[:, 1] - start, strict=True):
        x, y = text.get_position()
        text.set_position((x, y + shift / POINT))

"""Figures of a trained variational autoencoder, written as PNG files.

Images are arrays [rows, columns, height, width, channels] of one (gray) or three (RGB) channels,
either unsigned bytes or floats in [0, 1]. Each figure has a bold `title` above a smaller `subtitle`
and is written to `path`, local or remote; `axis_labels` are those of the horizontal and of the
vertical axis. The same input gives the same bytes.

Drawing needs no display: it uses matplotlib's objects, not pyplot and its global state. A figure
is as large as its panels; labels, legend and titles hang outside, and the picture that is saved
grows to hold them. So images are enlarged by whole numbers, and no text is cut off.
"""

import io
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

DPI = 160
POINT = DPI / 72  # Pixels per point, the unit of type sizes.
INK, GRAY, PALE = "#1a1a1a", "#707070", "#c8c8c8"
TRAIN_COLOR, HELDOUT_COLOR = "#9aa5b1", "#0f5fa6"
# Ten hues that stay apart for readers with red-green colour blindness as well.
HUES = (
    "#0072b2", "#ffa90e", "#009e73", "#a3154f", "#66ccee",
    "#d55e00", "#b66dff", "#332288", "#5c3a1e", "#ff9da7",
)  # fmt: skip
MAX_NAMED_CLASSES = 3 * len(HUES)  # In three shades; more classes get a colour bar.

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,  # A class name may hold a dollar sign.
    "axes.edgecolor": PALE,
    "axes.formatter.useoffset": False,
    "axes.labelcolor": INK,
    "axes.labelpad": 6,
    "axes.labelsize": 8.5,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "legend.frameon": False,
} | {
    f"{axis}tick.{name}": value
    for axis in "xy"
    for name, value in {"color": PALE, "labelcolor": GRAY, "labelsize": 7.5}.items()
}


@matplotlib.rc_context(STYLE)
def encodings(
    points: np.ndarray,
    labels: np.ndarray,
    *,
    class_names: Sequence[str],
    title: str,
    subtitle: str,
    axis_labels: tuple[str, str],
    path: epath.PathLike,
) -> None:
    """Draws encoded examples in latent space, coloured by class.

    Args:
        points: floats [examples, 2]. The frame holds all but far outliers and points that are not
            finite; it says how many those are.
        labels: integers [examples], indices into `class_names`.
        class_names: up to 30 are written at their class's median and in a legend; more are told
            by a colour bar.
    """
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must have shape [examples, 2]. Received: shape={points.shape}")
    if labels.shape != points.shape[:1]:
        raise ValueError(
            f"labels must have shape [examples], here ({len(points)},). "
            f"Received: shape={labels.shape}"
        )
    finite = np.isfinite(points).all(axis=1)
    if not finite.any():
        raise ValueError(f"points must hold at least one finite row. Received: {points}")
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise ValueError(
            f"labels must lie in [0, {len(class_names)}), as there are so many class names. "
            f"Received: {labels.min()} to {labels.max()}"
        )
    total = len(points)
    points, labels = points[finite], labels[finite]
    low, high = np.transpose([_robust_limits(points[:, 0]), _robust_limits(points[:, 1])])
    figure = _figure(*_frame_size(*(high - low)))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set_xlabel(axis_labels[0])
    axes.set_ylabel(axis_labels[1])

    colors = _class_colors(len(class_names))
    # Drawn in the order of their classes, the last class would cover the others.
    order = np.random.default_rng(0).permutation(len(points))
    x, y = points[order].T
    area = np.clip(40_000 / len(points), 4.5, 36)  # In square points.
    alpha = 0.55 if len(points) > 1000 else 0.8
    axes.scatter(x, y, s=area, c=colors[labels[order]], alpha=alpha, linewidths=0)
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
        note = f"{outside:,} of {total:,} points lie outside of the frame"
        axes.set_title(note, loc="right", color=GRAY, fontsize=7.5)
    _save(figure, title, subtitle, path)


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
    _save(figure, title, subtitle, path)


@matplotlib.rc_context(STYLE)
def image_grid(images: np.ndarray, *, title: str, subtitle: str, path: epath.PathLike) -> None:
    """Draws images, such as samples from the prior, with small gaps between them."""
    _check_images(images)
    gap = _gap(images)
    figure, _ = _show(mosaic(images, gap=(gap, gap)), tile=images.shape[2:4])
    _save(figure, title, subtitle, path)


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
    _save(figure, title, subtitle, path)


@matplotlib.rc_context(STYLE)
def learning_curves(
    epochs: Sequence[int],
    *,
    train: Mapping[str, Sequence[float]],
    heldout: Mapping[str, Sequence[float | None]] | None,
    title: str,
    subtitle: str,
    path: epath.PathLike,
) -> None:
    """Draws loss, distortion and rate over the epochs, in nats per example.

    Args:
        epochs: their numbers.
        train: "loss", "distortion" and "rate" on the training data, one value per epoch.
        heldout: the same on held-out data, where "loss" is the negative ELBO and an epoch without
            an evaluation has None. None without held-out data. Its last value is written
            beside each panel (without held-out data, that of the training data).
    """
    splits: dict[str, tuple[Mapping[str, Sequence[float | None]], str]]
    splits = {"training loss": (train, TRAIN_COLOR)}
    if heldout is not None:
        splits["held-out negative ELBO"] = (heldout, HELDOUT_COLOR)
    figure = _figure(9.6, 2.3)
    frame = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0.36}
    panels = figure.subplots(1, 3, gridspec_kw=frame)
    for axes, name in zip(panels, ("loss", "distortion", "rate"), strict=True):
        axes.set_title(name.capitalize())
        axes.set_xlabel("epoch")
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.xaxis.set_major_locator(
            MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
        )
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=PALE, linewidth=0.5, alpha=0.6)
        for label, (values, color) in splits.items():
            _draw_curve(axes, list(zip(epochs, values[name], strict=True)), color, label)
        _draw_last_value(axes)
    panels[0].set_ylabel("nats per example")
    panels[0].legend(handles=panels[0].get_lines())
    _save(figure, title, subtitle, path)


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


def _figure(width: float, height: float) -> Figure:
    """Returns a figure of a size in inches that can measure text."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def _show(picture: np.ndarray, tile: tuple[int, ...]) -> tuple[Figure, Axes]:
    """Shows a picture enlarged by a whole number; the axes count its pixels from the top left.

    `tile` is the size of one image in it, which must become neither tiny nor huge.
    """
    height, width = picture.shape[:2]
    smallest, largest = -(-48 // min(tile)), max(1, 140 // max(tile))
    scale = max(smallest, min(largest, 1400 // width, 1600 // height))
    figure = _figure(scale * width / DPI, scale * height / DPI)
    axes = figure.add_axes((0, 0, 1, 1), xticks=[], yticks=[])
    axes.imshow(picture, interpolation="nearest", aspect="auto", extent=(0, width, height, 0))
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0)
    return figure, axes


def _robust_limits(values: np.ndarray) -> tuple[float, float]:
    """Returns axis limits that hold the central 99.6 % of the values and what is not far off."""
    values = np.sort(values)
    # Among few values, each one counts.
    trimmed = int(np.ceil(0.002 * len(values))) if len(values) >= 20 else 0
    low, high = values[trimmed], values[-1 - trimmed]
    reach = 0.15 * (high - low)
    low, high = max(values[0], low - reach), min(values[-1], high + reach)
    margin = 0.04 * (high - low) or 1.0  # Equal values get a frame as well.
    return float(low - margin), float(high + margin)


def _frame_size(width: float, height: float) -> tuple[float, float]:
    """Returns a size in inches: with the same scale on both axes, unless one gets too short."""
    longest = max(width, height)
    if min(width, height) < 0.6 * longest:
        return 6, 6
    return 6 * width / longest, 6 * height / longest


def _class_colors(count: int) -> np.ndarray:
    """Returns RGB colours [count, 3]."""
    if count > MAX_NAMED_CLASSES:
        return matplotlib.colormaps["turbo"](np.linspace(0.03, 0.97, count))[:, :3]
    hues = np.array([to_rgb(hue) for hue in HUES])
    return np.concatenate([hues, 0.6 * hues, 0.5 + 0.5 * hues])[:count]


def _draw_legend(axes: Axes, names: Sequence[str], counts: np.ndarray, colors: np.ndarray) -> None:
    """Lists the classes, and how often they occur, at the right of the frame."""
    dots = [Line2D([], [], linestyle="", marker="o", markersize=5, color=color) for color in colors]
    axes.legend(
        dots,
        [f"{name} ({count:,})" for name, count in zip(names, counts, strict=True)],
        ncols=int(np.ceil(len(names) / (axes.bbox.height // (16 * POINT)))),
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        borderaxespad=0,
        handletextpad=0.2,
        labelspacing=0.7,
    )


def _draw_color_bar(figure: Figure, axes: Axes, names: Sequence[str], colors: np.ndarray) -> None:
    """Draws a step per class at the right of the frame, and names as many as there is room for."""
    edges = np.arange(len(names) + 1) - 0.5
    steps = ScalarMappable(BoundaryNorm(edges, len(names)), ListedColormap(colors))
    bar = figure.colorbar(steps, cax=axes.inset_axes((1.03, 0, 0.03, 1)))
    every = int(np.ceil(len(names) / (axes.bbox.height // (11 * POINT))))
    bar.set_ticks(range(0, len(names), every), labels=names[::every])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    bar.ax.invert_yaxis()
    bar.ax.tick_params(length=2, labelsize=7)


def _draw_names(
    axes: Axes, names: Sequence[str], medians: Sequence[np.ndarray], colors: np.ndarray
) -> None:
    """Writes the name of each class just above its median, with a white halo."""
    # Light colours are hard to read.
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
    """Pushes overlapping texts apart vertically, a little at a time."""
    texts.sort(key=lambda text: text.get_window_extent().y0)
    boxes = np.array([text.get_window_extent().padded(POINT).extents for text in texts])
    start = boxes[:, 1].copy()
    for _ in range(100):
        for lower, upper in itertools.combinations(boxes, 2):
            overlap = np.minimum(lower[2:], upper[2:]) - np.maximum(lower[:2], upper[:2])
            if overlap.min() > 0:
                lower[1::2] -= overlap[1] / 2
                upper[1::2] += overlap[1] / 2
    for text, shift in zip(texts, boxes[:, 1] - start, strict=True):
        x, y = text.get_position()
        text.set_position((x, y + shift / POINT))


def _draw_curve(
    axes: Axes, curve: Sequence[tuple[int, float | None]], color: str, label: str
) -> None:
    """Draws a curve through those of its values that are known and finite."""
    known = [(x, y) for x, y in curve if y is not None and np.isfinite(y)]
    if known:
        marker = "o" if len(known) <= 20 else None
        axes.plot(*np.transpose(known), color=color, label=label, marker=marker, markersize=3)


def _draw_last_value(axes: Axes) -> None:
    """Writes where the last curve that was drawn ends, beside the panel."""
    if axes.lines:
        y, color = np.asarray(axes.lines[-1].get_ydata())[-1], axes.lines[-1].get_color()
        place = axes.get_yaxis_transform()
        axes.text(1.02, y, f"{y:.1f}", transform=place, va="center", color=color, weight="bold")


def _save(figure: Figure, title: str, subtitle: str, path: epath.PathLike) -> None:
    """Writes the titles above all that was drawn, and the whole to a PNG file."""
    box = Bbox(figure.get_tightbbox().get_points() * DPI)
    # Lines as wide as the drawing, of characters about 5 points wide, but not all too short.
    lines = textwrap.fill(subtitle, max(60, int(box.width / (5 * POINT))))
    for text, space, size, weight, color in (
        (lines, 11 * POINT, 8.5, "normal", GRAY),
        (title, 6 * POINT, 12, "bold", INK),
    ):
        x, y = figure.transFigure.inverted().transform((box.x0, box.y1 + space))
        line = figure.text(x, y, text, fontsize=size, weight=weight, color=color)
        box = Bbox.union([box, line.get_window_extent()])
    cut = Bbox(box.padded(14 * POINT).get_points() / DPI)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches=cut, metadata={"Software": None})
    epath.Path(path).write_bytes(buffer.getvalue())

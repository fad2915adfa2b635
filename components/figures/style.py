"""The common style of all figures: fonts, colors and titles; and saving them in files.

A figure has the size of its panels. Labels, legends and titles are outside it, and the saved
picture is enlarged to contain them. So images keep their integer magnification and no text is cut
off.
"""

import io
import os
import textwrap
from collections.abc import Sequence
from typing import Any, TypeAlias

import matplotlib
from etils import epath
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

# The file of a figure, which may be remote, or several in different formats. The suffix is a key of
# `FORMATS`.
FigurePath: TypeAlias = epath.PathLike | Sequence[epath.PathLike]
# File formats, each with the metadata to leave out: without names, versions and times, the bytes
# depend on the drawing alone.
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}
DPI = 160
POINT = DPI / 72  # Pixels per point, the unit of font sizes.
INK, GRAY, PALE = "#1a1a1a", "#707070", "#c8c8c8"
# On top of matplotlib's defaults, so that the user's rc file has no effect. A style cannot change
# the backend, and `Figure` does not use it.
STYLE: dict[Any, Any] = (
    {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    | {
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "text.color": INK,
        "text.parse_math": False,  # A class name may contain a dollar sign.
        "axes.edgecolor": PALE,
        "axes.formatter.useoffset": False,
        "axes.labelcolor": INK,
        "axes.labelpad": 6,
        "axes.labelsize": 8.5,
        "axes.titlelocation": "left",
        "axes.titlesize": 9.5,
        "legend.frameon": False,
        # Otherwise the names of the parts of an SVG file are random.
        "svg.hashsalt": "figure",
    }
    | {
        f"{axis}tick.{name}": value
        for axis in "xy"
        for name, value in {"color": PALE, "labelcolor": GRAY, "labelsize": 7.5}.items()
    }
)


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure, with a width and a height in inches."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    # The canvas lets texts and axes measure their extent in pixels.
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, title: str, subtitle: str, path: FigurePath) -> None:
    """Writes the titles above everything drawn, and saves the figure.

    Args:
      figure: a figure made by `new_figure`.
      title: title, in bold; empty for none.
      subtitle: text below the title, wrapped at the width of the drawing; empty for none.
      path: the PNG, SVG or PDF file to write, or several.
    """
    # The bounding box of everything drawn, in pixels.
    box = Bbox(figure.get_tightbbox().get_points() * DPI)
    # A character is about 5 points wide. A line has at least 60, even above a narrow drawing.
    lines = textwrap.fill(subtitle, max(60, int(box.width / (5 * POINT))))
    for text, space, size, weight, color in (
        (lines, 11 * POINT, 8.5, "normal", GRAY),
        (title, 6 * POINT, 12, "bold", INK),
    ):
        if not text:
            continue
        x, y = figure.transFigure.inverted().transform((box.x0, box.y1 + space))
        line = figure.text(x, y, text, fontsize=size, weight=weight, color=color)
        box = Bbox.union([box, line.get_window_extent()])
    cut = Bbox(box.padded(14 * POINT).get_points() / DPI)  # In inches.
    for file in map(epath.Path, [path] if isinstance(path, str | os.PathLike) else path):
        kind = file.suffix.removeprefix(".")
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, bbox_inches=cut, metadata=FORMATS[kind])
        file.write_bytes(buffer.getvalue())

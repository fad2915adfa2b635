"""What all figures share: type, colours, titles, and how they become PNG files.

A figure is as large as its panels; labels, legend and titles hang outside, and the picture that is
saved grows to hold them. So images are enlarged by whole numbers, and no text is cut off.
"""

import io
import textwrap
from typing import Any

from etils import epath
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

DPI = 160
POINT = DPI / 72  # Pixels per point, the unit of type sizes.
INK, GRAY, PALE = "#1a1a1a", "#707070", "#c8c8c8"
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


def new_figure(width: float, height: float) -> Figure:
    """Returns a figure of a size in inches that can measure text."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, title: str, subtitle: str, path: epath.PathLike) -> None:
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

"""Sizes of compressed images, and their figure."""

import dataclasses
from collections.abc import Sequence

import matplotlib
from etils import epath

from benchmarks import command
from components.figures.style import GRAY, INK, PALE, STYLE, new_figure, save

_OURS, _OTHERS, _ELSEWHERE = "#0f5fa6", "#9fb8cf", "#dddddd"
_PARTS = (_OURS, "#6fa3d0", "#d95f02", "#e7b48a", GRAY)
_ROW = 0.26  # Inches for a bar and the space to the next.


@dataclasses.dataclass(frozen=True)
class Bar:
    """The size of images in one format.

    Attributes:
      name: name of the format.
      bits: bits for each channel of each pixel.
      kind: "ours", "measured" or "published" elsewhere.
    """

    name: str
    bits: float
    kind: str = "published"

    @staticmethod
    def parse(text: str, option: str) -> "Bar":
        """Parses `NAME:BITS`, a published size; `option` is named in errors."""
        name, (bits,) = command.named_numbers(text, option=option, form="NAME:BITS")
        return Bar(name, bits)


@matplotlib.rc_context(STYLE)
def draw_sizes(
    bars: Sequence[Bar],
    parts: Sequence[tuple[str, float]],
    *,
    title: str,
    subtitle: str,
    path: epath.PathLike,
) -> None:
    """Draws a bar for each format, the smallest above, and the parts of our file below them.

    Args:
      bars: the formats, at least one.
      parts: name and bytes of each part of our file, at most five.
      title: title of the figure.
      subtitle: text below the title.
      path: PNG file to write.
    """
    ordered = sorted(bars, key=lambda bar: bar.bits)
    rows = (len(ordered), len(parts))
    figure = new_figure(5.6, _ROW * (sum(rows) + 2.5))
    frame = {"left": 0, "right": 1, "bottom": 0, "top": 1}
    # The space between the panels, in units of their mean height.
    space = 2.5 / (sum(rows) / 2)
    above, below = figure.subplots(
        2, 1, gridspec_kw=frame | {"height_ratios": rows, "hspace": space}
    )
    colors = {"ours": _OURS, "measured": _OTHERS, "published": _ELSEWHERE}
    _bars(
        above,
        [(bar.name, bar.bits, f"{bar.bits:.2f}", colors[bar.kind]) for bar in ordered],
    )
    above.set_title("Bits per dimension")
    total = sum(size for _, size in parts)
    _bars(
        below,
        [
            (name, 100 * size / total, f"{100 * size / total:.2f} %", color)
            for (name, size), color in zip(parts, _PARTS, strict=False)
        ],
    )
    below.set_title(f"Parts of our file of {total / 1e6:,.2f} MB")
    save(figure, title, subtitle, path)


def _bars(axes, rows: Sequence[tuple[str, float, str, str]]) -> None:
    """Draws horizontal bars: name, length, text at the end, and color of each."""
    names, lengths, texts, colors = zip(*rows, strict=True)
    places = range(len(rows))
    axes.barh(places, lengths, height=0.72, color=colors)
    for place, length, text in zip(places, lengths, texts, strict=True):
        axes.annotate(
            text, (length, place), (4, 0), textcoords="offset points", va="center", color=INK
        )
    axes.set_yticks(places, names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelsize=8.5, labelcolor=INK)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(PALE)

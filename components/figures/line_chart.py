"""Line charts as geometry, for pages that draw them as SVG in their own colors."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

WIDTH, HEIGHT = 340, 210
# The frame of the curves within the chart. Texts are outside it.
LEFT, RIGHT, TOP, BOTTOM = 52, 282, 12, 172
_TICKS = 4  # About as many intervals.


@dataclasses.dataclass(frozen=True)
class ChartCurve:
    """A curve of a chart.

    Attributes:
      name: its name in the legend.
      path: the `d` attribute of its SVG path, in units of the chart; empty if no value is known.
      dots: (x, y) of its points, if they are few.
      last: the text of its last value, and where it is: (x, y, text); None if no value is known.
    """

    name: str
    path: str
    dots: list[tuple[float, float]]
    last: tuple[float, float, str] | None


@dataclasses.dataclass(frozen=True)
class LineChart:
    """A chart of curves over whole numbers, such as epochs.

    Attributes:
      title: what is measured.
      curves: the curves.
      x_ticks: position and text of each tick of the horizontal axis.
      y_ticks: position and text of each tick of the vertical axis.
    """

    title: str
    curves: list[ChartCurve]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def line_chart(
    title: str, x: Sequence[int], curves: Mapping[str, Sequence[float | None]]
) -> LineChart:
    """A chart of curves.

    Args:
      title: what is measured.
      x: whole numbers in ascending order, at least one.
      curves: by name, a value for each x; None, or not finite, where it is not known.
    """
    known = {
        name: [
            (number, value)
            for number, value in zip(x, values, strict=True)
            if value is not None and math.isfinite(value)
        ]
        for name, values in curves.items()
    }
    values = [value for points in known.values() for _, value in points] or [0.0]
    y_low, y_high = _widened(min(values), max(values), share=0.06)
    x_low, x_high = _widened(x[0], x[-1], share=0.0)

    # As many decimals as are needed to tell the ticks apart.
    digits = max(0, 1 - math.floor(math.log10(y_high - y_low)))

    def place(number: float, value: float) -> tuple[float, float]:
        return (
            round(LEFT + (RIGHT - LEFT) * (number - x_low) / (x_high - x_low), 1),
            round(BOTTOM - (BOTTOM - TOP) * (value - y_low) / (y_high - y_low), 1),
        )

    whole = [tick for tick in ticks(x_low, x_high) if tick.is_integer() and x[0] <= tick <= x[-1]]
    return LineChart(
        title,
        [_curve(name, [(place(*point), point[1]) for point in known[name]]) for name in curves],
        [(place(tick, y_low)[0], f"{tick:g}") for tick in whole],
        [(place(x_low, tick)[1], _number(tick, digits=digits)) for tick in ticks(y_low, y_high)],
    )


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, about five of them."""
    rough = (high - low) / _TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(np.round(index * step, 12)) for index in range(first, last + 1)]


def _curve(name: str, points: list[tuple[tuple[float, float], float]]) -> ChartCurve:
    if not points:
        return ChartCurve(name, "", [], None)
    places = [place for place, _ in points]
    (x, y), value = points[-1]
    return ChartCurve(
        name,
        "M" + "L".join(f"{x:g} {y:g}" for x, y in places),
        places if len(places) <= 20 else [],
        (x, y, _number(value, digits=1)),
    )


def _widened(low: float, high: float, *, share: float) -> tuple[float, float]:
    """Limits with a margin: a share of the range, or something if all values are equal."""
    margin = share * (high - low) or (0.5 if low == high else 0.0)
    # Far from 0, a margin of 0.5 would be lost in rounding.
    margin = max(margin, 1e-9 * max(abs(low), abs(high)))
    return low - margin, high + margin


def _number(value: float, *, digits: int) -> str:
    """A number with a typographic minus sign and some decimals."""
    return f"{value:z,.{digits}f}".replace("-", "−")

import math

import pytest

from components.figures import line_chart
from components.figures.line_chart import BOTTOM, LEFT, RIGHT, TOP


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 5, 10]),
        (0.5, 5.5, [2, 4]),
        (-3e4, 1e4, [-30000, -20000, -10000, 0, 10000]),
        (0.01, 0.05, [0.01, 0.02, 0.03, 0.04, 0.05]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert line_chart.ticks(low, high) == expected


def test_a_curve_goes_through_its_points():
    chart = line_chart.line_chart("Loss", [1, 2, 3], {"a": [10.0, 0.0, 5.0]})
    (curve,) = chart.curves
    (x0, top), (x1, bottom), (x2, middle) = curve.dots
    assert (x0, x1, x2) == (LEFT, (LEFT + RIGHT) / 2, RIGHT)
    assert TOP < top < middle < bottom < BOTTOM
    assert middle == pytest.approx((top + bottom) / 2, abs=0.1)
    assert curve.path == f"M{x0:g} {top:g}L{x1:g} {bottom:g}L{x2:g} {middle:g}"
    assert curve.last == (x2, middle, "5.0")
    assert [text for _, text in chart.x_ticks] == ["1", "2", "3"]
    ticks = {text: y for y, text in chart.y_ticks}
    assert ticks["5"] == pytest.approx(middle, abs=0.1)


def test_values_that_are_not_known_are_left_out():
    values = [None, 3.0, math.nan, math.inf, 1.0]
    chart = line_chart.line_chart("Loss", range(1, 6), {"a": values, "b": [None] * 5})
    known, unknown = chart.curves
    assert len(known.dots) == 2
    assert (unknown.path, unknown.dots, unknown.last) == ("", [], None)


def test_long_curves_have_no_dots():
    (curve,) = line_chart.line_chart("Loss", range(50), {"a": [1.0] * 50}).curves
    assert not curve.dots
    assert curve.path.count("L") == 49


@pytest.mark.parametrize("value", [0.0, -12345.678, 1e30, 1e-30])
def test_a_single_value_is_in_the_frame(value):
    (curve,) = line_chart.line_chart("Loss", [7], {"a": [value]}).curves
    assert curve.last is not None
    x, y, _ = curve.last
    assert LEFT <= x <= RIGHT
    assert TOP <= y <= BOTTOM


def test_minus_signs_are_signs():
    chart = line_chart.line_chart("Loss", [1, 2], {"a": [-2000.0, -1000.0]})
    assert chart.curves[0].last[2] == "−1,000.0"
    assert "−1,500" in [text for _, text in chart.y_ticks]

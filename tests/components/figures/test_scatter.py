"""Tests of the figure of the encodings."""

import numpy as np
import pytest

from components.figures import scatter
from tests.components.figures.drawing import AXIS_LABELS, TITLES, is_colored, read


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def draw(path, points, labels, num_classes: int) -> np.ndarray:
    scatter.encodings(
        np.asarray(points),
        np.asarray(labels),
        class_names=[f"class {index}" for index in range(num_classes)],
        axis_labels=AXIS_LABELS,
        path=path,
        **TITLES,
    )
    return read(path)


@pytest.mark.parametrize(("count", "num_classes"), [(1, 1), (50, 10), (300, 40), (50, 40_000)])
def test_few_and_many_points_and_classes_are_drawn(tmp_path, rng, count, num_classes):
    points, labels = rng.normal(size=(count, 2)), rng.integers(0, num_classes, count)
    pixels = draw(tmp_path / "figure.png", points, labels, num_classes)
    assert is_colored(pixels).any()


def test_equal_points_are_drawn(tmp_path):
    draw(tmp_path / "figure.png", np.ones((40, 2), np.float32), np.arange(40) % 4, 4)


def test_distant_outliers_do_not_squash_the_other_points(tmp_path, rng):
    points, labels = rng.normal(size=(100, 2)), np.zeros(100, int)
    near = is_colored(draw(tmp_path / "near.png", points, labels, 2))
    # The only point of the second class: its name must not extend the figure either.
    points[3], labels[3] = (1e6, -1e6), 1
    points[4] = (np.nan, 0)
    far = is_colored(draw(tmp_path / "far.png", points, labels, 2))
    assert far.sum() > 0.9 * near.sum(), "the points overlap"


def test_robust_limits_exclude_distant_outliers_only(rng):
    values = rng.uniform(-1, 1, 10_000)
    low, high = scatter.robust_limits(values)
    assert low < values.min()
    assert high > values.max()
    values[:5] = 1e9
    assert scatter.robust_limits(values)[1] < 1.5
    assert scatter.robust_limits(np.array([0.0, 1e9]))[1] > 1e9  # Two points have no outlier.


@pytest.mark.parametrize("count", [1, 10, 30, 31, 100])
def test_class_colors_are_distinct(count):
    colors = scatter._class_colors(count)
    assert colors.shape == (count, 3)
    assert len(np.unique(colors.round(4), axis=0)) == count


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        (np.zeros((4, 3)), np.zeros(4, int), r"\[examples, 2\]. Received: shape=\(4, 3\)"),
        (np.zeros(4), np.zeros(4, int), r"\[examples, 2\]. Received: shape=\(4,\)"),
        (np.zeros((4, 2)), np.zeros((4, 1), int), r"Received: shape=\(4, 1\)"),
        (np.zeros((4, 2)), np.array([0, 1, 2, 3]), "Received: 0 to 3"),
        (np.zeros((4, 2)), np.array([0, -1, 2, 1]), "Received: -1 to 2"),
        (np.full((4, 2), np.nan), np.zeros(4, int), "finite"),
        (np.zeros((0, 2)), np.zeros(0, int), "finite"),
    ],
)
def test_arguments_that_do_not_match_are_refused(tmp_path, points, labels, message):
    with pytest.raises(ValueError, match=message):
        draw(tmp_path / "figure.png", points, labels, 3)


def test_colors_of_classes_are_those_of_the_figure():
    assert scatter.hex_colors(2) == list(scatter.HUES[:2])
    assert len(set(scatter.hex_colors(30))) == 30
    assert len(set(scatter.hex_colors(100))) == 100

"""Tests of the properties that all figures share."""

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from components.figures import style
from components.figures.curves import learning_curves
from components.figures.grids import image_grid, latent_grid, reconstructions
from components.figures.scatter import encodings
from tests.components.figures.drawing import AXIS_LABELS, METRICS, TITLES, read


def draw_every_kind(folder: Path) -> list[Path]:
    """Draws one figure of each kind from the same random numbers."""
    rng = np.random.default_rng(0)
    gray = rng.random((3, 3, 8, 8, 1))
    losses = {name: [3.0, 2.0] for name in METRICS}
    folder.mkdir()
    encodings(
        rng.normal(size=(60, 2)),
        rng.integers(0, 3, 60),
        class_names=["a", "b", "c"],
        axis_labels=AXIS_LABELS,
        path=folder / "encodings.png",
        **TITLES,
    )
    latent_grid(
        gray,
        quantiles=[0.05, 0.5, 0.95],
        axis_labels=AXIS_LABELS,
        path=folder / "latent_grid.png",
        **TITLES,
    )
    image_grid(gray, path=folder / "image_grid.png", **TITLES)
    reconstructions(
        gray, gray, class_names=["a", "b", "c"], path=folder / "reconstructions.png", **TITLES
    )
    learning_curves(
        [1, 2], train=losses, heldout=losses, path=str(folder / "learning_curves.png"), **TITLES
    )
    return sorted(folder.iterdir())


def test_every_figure_is_a_png_file_with_the_same_bytes_each_time(tmp_path):
    global_style = dict(matplotlib.rcParams)
    first = draw_every_kind(tmp_path / "first")
    second = draw_every_kind(tmp_path / "second")
    assert len(first) == len(second) == 5
    for one, other in zip(first, second, strict=True):
        read(one)
        assert one.read_bytes() == other.read_bytes(), one.name
    assert dict(matplotlib.rcParams) == global_style


@pytest.mark.parametrize("module", ["curves", "grids", "scatter"])
def test_drawing_imports_neither_tensorflow_nor_pyplot(module):
    code = f"import sys, components.figures.{module}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"tensorflow", "matplotlib.pyplot"} & set(result.stdout.split())


def test_a_long_subtitle_is_wrapped_and_not_cut_off(tmp_path):
    shapes = []
    for name, subtitle in (("short", "data"), ("long", "data · mlp · " * 40)):
        figure = style.new_figure(3, 2)
        figure.add_axes((0, 0, 1, 1))
        style.save(figure, "Title", subtitle, tmp_path / f"{name}.png")
        shapes.append(read(tmp_path / f"{name}.png").shape)
    (short_height, short_width, _), (long_height, long_width, _) = shapes
    assert long_height > short_height
    # A line has at least 60 characters, even above a narrow drawing.
    assert long_width < 1.5 * short_width


def test_a_dollar_sign_is_not_a_formula(tmp_path):
    figure = style.new_figure(3, 2)
    with matplotlib.rc_context(style.STYLE):
        style.save(figure, "from $1 to $2", r"a \broken $formula", tmp_path / "figure.png")
    read(tmp_path / "figure.png")


def test_the_rc_file_of_the_user_is_ignored(tmp_path):
    expected = [path.read_bytes() for path in draw_every_kind(tmp_path / "expected")]
    users = {"axes.facecolor": "black", "savefig.facecolor": "red", "axes.grid": True}
    with matplotlib.rc_context(users | {"savefig.pad_inches": 3, "image.origin": "lower"}):
        drawn = draw_every_kind(tmp_path / "drawn")
    assert [path.read_bytes() for path in drawn] == expected

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


def draw_every_kind(folder: Path, *, formats=("png",), titles=TITLES) -> list[Path]:
    """Draws one figure of each kind from the same random numbers, in some formats."""

    def files(name: str) -> list[Path]:
        return [folder / f"{name}.{each}" for each in formats]

    rng = np.random.default_rng(0)
    gray = rng.random((3, 3, 8, 8, 1))
    losses = {name: [3.0, 2.0] for name in METRICS}
    folder.mkdir()
    encodings(
        rng.normal(size=(60, 2)),
        rng.integers(0, 3, 60),
        class_names=["a", "b", "c"],
        axis_labels=AXIS_LABELS,
        path=files("encodings"),
        **titles,
    )
    latent_grid(
        gray,
        quantiles=[0.05, 0.5, 0.95],
        axis_labels=AXIS_LABELS,
        path=files("latent_grid"),
        **titles,
    )
    image_grid(gray, path=files("image_grid"), **titles)
    reconstructions(
        gray, gray, class_names=["a", "b", "c"], path=files("reconstructions"), **titles
    )
    learning_curves([1, 2], train=losses, heldout=losses, path=files("learning_curves"), **titles)
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


def test_vector_formats_have_the_same_bytes_each_time_and_no_date(tmp_path):
    first = draw_every_kind(tmp_path / "first", formats=("svg", "pdf"))
    second = draw_every_kind(tmp_path / "second", formats=("svg", "pdf"))
    assert [path.suffix for path in first] == [".pdf", ".svg"] * 5
    for one, other in zip(first, second, strict=True):
        content = one.read_bytes()
        assert content == other.read_bytes(), one.name
        assert content.startswith(b"%PDF" if one.suffix == ".pdf" else b"<?xml")
        assert b"Date>" not in content
        assert b"CreationDate" not in content


def test_points_are_pixels_in_vector_formats_too(tmp_path):
    points = np.random.default_rng(0).normal(size=(20_000, 2))
    path = tmp_path / "encodings.svg"
    encodings(
        points,
        np.zeros(20_000, int),
        class_names=["a"],
        axis_labels=AXIS_LABELS,
        path=path,
        **TITLES,
    )
    assert path.stat().st_size < 1 << 20


def test_without_titles_only_the_drawing_is_left(tmp_path):
    drawn = draw_every_kind(tmp_path / "titled")
    plain = draw_every_kind(tmp_path / "plain", titles={"title": "", "subtitle": ""})
    for titled, untitled in zip(drawn, plain, strict=True):
        # Two lines of text, and the spaces below them.
        assert read(titled).shape[0] - read(untitled).shape[0] > 60


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

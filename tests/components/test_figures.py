"""Tests of the figures: what can be told of a picture without looking at it."""

import io
import pathlib
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from components import figures
from components.figures import scatter

TITLES = {"title": "Latent space of the test set", "subtitle": "data · mlp · ELBO -262.3 nats"}
AXIS_LABELS = ("latent 1", "latent 2")
METRICS = ("loss", "distortion", "rate")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def read(path):
    """Returns the picture [height, width, 3], after checks that hold for every figure."""
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.format == "PNG"
        assert not image.text  # No version or date: the same input gives the same bytes.
        pixels = np.asarray(image.convert("RGB"))
    assert 250 < pixels.shape[0] < 2000
    assert 250 < pixels.shape[1] < 2000
    frame = pixels.copy()
    frame[20:-20, 20:-20] = 255
    assert (frame == 255).all(), "the margin is not empty: something is cut off"
    return pixels


def colorful(pixels):
    """Tells for each pixel whether it is not gray, as are texts and background."""
    red, green, blue = np.moveaxis(pixels, 2, 0)
    return (red != green) | (green != blue)


def colored(pixels):
    """Returns the smallest box that holds all pixels that are not gray."""
    rows, columns = np.nonzero(colorful(pixels))
    return pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def draw_encodings(path, points, labels, classes):
    figures.encodings(
        np.asarray(points),
        np.asarray(labels),
        class_names=[f"class {index}" for index in range(classes)],
        axis_labels=AXIS_LABELS,
        path=path,
        **TITLES,
    )
    return read(path)


def draw_each(folder: pathlib.Path, rng):
    """Draws one figure of each kind."""
    gray = rng.random((3, 3, 8, 8, 1))
    values = {name: [3.0, 2.0] for name in METRICS}
    folder.mkdir()
    draw_encodings(folder / "encodings.png", rng.normal(size=(60, 2)), rng.integers(0, 3, 60), 3)
    figures.latent_grid(
        gray,
        quantiles=[0.05, 0.5, 0.95],
        axis_labels=AXIS_LABELS,
        path=folder / "latent_grid.png",
        **TITLES,
    )
    figures.image_grid(gray, path=folder / "image_grid.png", **TITLES)
    figures.reconstructions(
        gray, gray, class_names=["a", "b", "c"], path=folder / "reconstructions.png", **TITLES
    )
    figures.learning_curves(
        [1, 2], train=values, heldout=values, path=str(folder / "learning_curves.png"), **TITLES
    )
    return sorted(folder.iterdir())


def test_every_figure_is_a_picture_and_the_same_each_time(tmp_path):
    style = dict(matplotlib.rcParams)
    first = draw_each(tmp_path / "first", np.random.default_rng(0))
    second = draw_each(tmp_path / "second", np.random.default_rng(0))
    assert len(first) == len(second) == 5
    for one, other in zip(first, second, strict=True):
        read(one)
        assert one.read_bytes() == other.read_bytes(), one.name
    assert dict(matplotlib.rcParams) == style, "the global style has changed"


def test_import_needs_neither_tensorflow_nor_pyplot():
    code = "import sys, components.figures; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"tensorflow", "matplotlib.pyplot"} & set(result.stdout.split())


# Encodings.


@pytest.mark.parametrize(("count", "classes"), [(1, 1), (50, 10), (300, 40)])
def test_encodings_of_few_and_many_points_and_classes(tmp_path, rng, count, classes):
    points, labels = rng.normal(size=(count, 2)), rng.integers(0, classes, count)
    pixels = draw_encodings(tmp_path / "figure.png", points, labels, classes)
    assert colorful(pixels).any()


def test_encodings_of_equal_points(tmp_path):
    draw_encodings(tmp_path / "figure.png", np.ones((40, 2), np.float32), np.arange(40) % 4, 4)


def test_far_outliers_do_not_squash_the_others(tmp_path, rng):
    points, labels = rng.normal(size=(100, 2)), np.zeros(100, int)
    near = colorful(draw_encodings(tmp_path / "near.png", points, labels, 2))
    # The only point of the second class: its name is not drawn far away either.
    points[3], labels[3] = (1e6, -1e6), 1
    points[4] = (np.nan, 0)
    far = colorful(draw_encodings(tmp_path / "far.png", points, labels, 2))
    assert far.sum() > 0.9 * near.sum(), "points lie on top of each other"


def test_robust_limits_hold_all_but_far_outliers(rng):
    values = rng.uniform(-1, 1, 10_000)
    low, high = scatter._robust_limits(values)
    assert low < values.min()
    assert high > values.max()
    values[:5] = 1e9
    assert scatter._robust_limits(values)[1] < 1.5
    assert scatter._robust_limits(np.array([0.0, 1e9]))[1] > 1e9  # Of two points, none is far.


def test_class_colors_differ():
    for count in (1, 10, 30, 31, 100):
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
def test_encodings_refuse_what_they_cannot_draw(tmp_path, points, labels, message):
    with pytest.raises(ValueError, match=message):
        draw_encodings(tmp_path / "figure.png", points, labels, 3)


# Images.


def test_mosaic_places_each_tile_and_leaves_white_gaps(rng):
    images = rng.integers(0, 200, (2, 3, 4, 5, 1), dtype=np.uint8)
    picture = figures.mosaic(images, gap=(2, 1))
    assert picture.shape == (2 * 4 + 2, 3 * 5 + 2, 3)
    assert picture.dtype == np.uint8
    tiles = np.zeros(picture.shape[:2], bool)
    for row in range(2):
        for column in range(3):
            place = np.s_[row * 6 : row * 6 + 4, column * 6 : column * 6 + 5]
            tiles[place] = True
            np.testing.assert_array_equal(picture[place], images[row, column].repeat(3, axis=2))
    assert (picture[~tiles] == 255).all()


def test_mosaic_without_gaps_is_seamless(rng):
    images = rng.integers(0, 256, (2, 2, 3, 3, 3), dtype=np.uint8)
    expected = np.block([[[images[0, 0]], [images[0, 1]]], [[images[1, 0]], [images[1, 1]]]])
    np.testing.assert_array_equal(figures.mosaic(images, gap=(0, 0)), expected)


def test_mosaic_rounds_and_clips_floats():
    images = np.array([-0.5, 0, 0.1, 0.999, 1, 1.5], np.float32).reshape(1, 1, 1, 6, 1)
    assert figures.mosaic(images, gap=(0, 0))[0, :, 0].tolist() == [0, 0, 26, 255, 255, 255]


@pytest.mark.parametrize("size", [28, 64])
def test_saved_pixels_are_those_of_the_images(tmp_path, rng, size):
    images = rng.integers(0, 200, (2, 4, size, size, 3), dtype=np.uint8)
    images[..., 0] = 220  # No pixel is gray, as are text and background.
    figures.image_grid(images, path=tmp_path / "figure.png", **TITLES)
    picture = figures.mosaic(images, gap=(size // 28, size // 28))
    saved = colored(read(tmp_path / "figure.png"))
    scale = saved.shape[0] // picture.shape[0]
    np.testing.assert_array_equal(saved, picture.repeat(scale, axis=0).repeat(scale, axis=1))


def test_latent_grid_starts_at_the_bottom_left(tmp_path):
    images = np.zeros((2, 2, 4, 4, 3), np.uint8)
    images[..., 2] = 255
    images[0, 0] = (255, 0, 0)
    figures.latent_grid(
        images,
        quantiles=[0.1, 0.9],
        axis_labels=AXIS_LABELS,
        path=tmp_path / "figure.png",
        **TITLES,
    )
    grid = colored(read(tmp_path / "figure.png"))
    height, width = grid.shape[0] // 2, grid.shape[1] // 2
    assert (grid[height:, :width] == (255, 0, 0)).all()
    assert (grid[:height] == (0, 0, 255)).all()
    assert (grid[height:, width:] == (0, 0, 255)).all()


@pytest.mark.parametrize(("classes", "count", "size"), [(3, 4, 28), (10, 3, 32), (1, 1, 64)])
def test_reconstructions_are_below_their_originals(tmp_path, classes, count, size):
    originals = np.zeros((classes, count, size, size, 3), np.float32)
    originals[..., 0] = 1
    others = originals[..., ::-1]  # Blue instead of red.
    figures.reconstructions(
        originals,
        others,
        class_names=["A class of a rather long name"] * classes,
        path=tmp_path / "figure.png",
        **TITLES,
    )
    column = colored(read(tmp_path / "figure.png"))[:, 0]
    kinds = column[(column != 255).any(axis=1)]  # Without the gaps.
    changes = np.flatnonzero((np.diff(kinds.astype(int), axis=0) != 0).any(axis=1)) + 1
    assert kinds[0].tolist() == [255, 0, 0]
    assert kinds[-1].tolist() == [0, 0, 255]
    np.testing.assert_array_equal(changes, np.arange(1, 2 * classes) * len(kinds) / (2 * classes))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.zeros((2, 28, 28, 1)),
            r"\[rows, columns, height, width, channels\].*Received: shape=\(2, 28, 28, 1\)",
        ),
        (np.zeros((2, 2, 28, 28, 2)), r"1 or 3 channels. Received: shape=\(2, 2, 28, 28, 2\)"),
        (np.zeros((2, 2, 28, 28, 1), np.int64), "uint8 or floats. Received: dtype=int64"),
    ],
)
def test_images_of_a_wrong_kind_are_refused(tmp_path, images, message):
    path = tmp_path / "figure.png"
    with pytest.raises(ValueError, match=message):
        figures.mosaic(images, gap=(0, 0))
    with pytest.raises(ValueError, match=message):
        figures.image_grid(images, path=path, **TITLES)
    with pytest.raises(ValueError, match=message):
        figures.reconstructions(images, images, class_names=["a", "b"], path=path, **TITLES)
    with pytest.raises(ValueError, match=message):
        figures.latent_grid(
            images, quantiles=[0.1, 0.9], axis_labels=AXIS_LABELS, path=path, **TITLES
        )


def test_images_that_do_not_match_are_refused(tmp_path):
    images, path = np.zeros((2, 2, 8, 8, 1)), tmp_path / "figure.png"
    with pytest.raises(ValueError, match=r"Received: shape=\(2, 1, 8, 8, 1\)"):
        figures.reconstructions(images, images[:, :1], class_names=["a", "b"], path=path, **TITLES)
    with pytest.raises(ValueError, match=r"2 names\. Received: 1"):
        figures.reconstructions(images, images, class_names=["a"], path=path, **TITLES)
    with pytest.raises(ValueError, match="3 rows and columns"):
        figures.latent_grid(
            images, quantiles=[0.1, 0.5, 0.9], axis_labels=AXIS_LABELS, path=path, **TITLES
        )


# Learning curves.


@pytest.mark.parametrize(
    ("train", "heldout"),
    [
        ([5.0, 4.0, 3.5], None),
        ([5.0, 4.0, 3.5], [None, 4.5, None]),
        ([5.0, float("nan"), 3.5], [5.0, 4.5, float("inf")]),
        ([float("nan")], [float("nan")]),
    ],
)
def test_learning_curves_of_any_length_and_with_missing_values(tmp_path, train, heldout):
    figures.learning_curves(
        list(range(1, len(train) + 1)),
        train=dict.fromkeys(METRICS, train),
        heldout=None if heldout is None else dict.fromkeys(METRICS, heldout),
        path=tmp_path / "figure.png",
        **TITLES,
    )
    read(tmp_path / "figure.png")


def test_learning_curves_need_a_value_per_epoch(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        figures.learning_curves(
            [1, 2],
            train={name: [1.0] for name in METRICS},
            heldout=None,
            path=tmp_path / "figure.png",
            **TITLES,
        )

"""Tests of the figures made of images."""

import numpy as np
import pytest
from PIL import Image

from components.figures import grids
from components.figures.grids import image_grid, latent_grid, reconstructions
from components.figures.mosaic import mosaic
from tests.components.figures.drawing import AXIS_LABELS, TITLES, colored_box, is_colored, read


@pytest.mark.parametrize("size", [28, 64])
def test_an_image_grid_shows_the_pixels_at_an_integer_magnification(tmp_path, size):
    images = np.random.default_rng(7).integers(0, 200, (2, 4, size, size, 3), dtype=np.uint8)
    images[..., 0] = 220  # No pixel is gray, as text and background are.
    image_grid(images, path=tmp_path / "figure.png", **TITLES)
    picture = mosaic(images, gap=(size // 28, size // 28))
    saved = colored_box(read(tmp_path / "figure.png"))
    scale = saved.shape[0] // picture.shape[0]
    np.testing.assert_array_equal(saved, picture.repeat(scale, axis=0).repeat(scale, axis=1))


def test_a_latent_grid_starts_at_the_bottom_left(tmp_path):
    images = np.zeros((2, 2, 4, 4, 3), np.uint8)
    images[..., 2] = 255
    images[0, 0] = (255, 0, 0)
    latent_grid(
        images,
        quantiles=[0.1, 0.9],
        axis_labels=AXIS_LABELS,
        path=tmp_path / "figure.png",
        **TITLES,
    )
    grid = colored_box(read(tmp_path / "figure.png"))
    height, width = grid.shape[0] // 2, grid.shape[1] // 2
    assert (grid[height:, :width] == (255, 0, 0)).all()
    assert (grid[:height] == (0, 0, 255)).all()
    assert (grid[height:, width:] == (0, 0, 255)).all()


@pytest.mark.parametrize(("classes", "count", "size"), [(3, 4, 28), (10, 3, 32), (1, 1, 64)])
def test_reconstructions_are_below_their_originals(tmp_path, classes, count, size):
    originals = np.zeros((classes, count, size, size, 3), np.float32)
    originals[..., 0] = 1
    blue_instead_of_red = originals[..., ::-1]
    reconstructions(
        originals,
        blue_instead_of_red,
        class_names=["A class of a rather long name"] * classes,
        path=tmp_path / "figure.png",
        **TITLES,
    )
    column = colored_box(read(tmp_path / "figure.png"))[:, 0]
    colors = column[(column != 255).any(axis=1)]  # Without the gaps.
    changes = np.flatnonzero((np.diff(colors.astype(int), axis=0) != 0).any(axis=1)) + 1
    assert colors[0].tolist() == [255, 0, 0]
    assert colors[-1].tolist() == [0, 0, 255]
    # Rows of equal height, alternately red and blue.
    expected = np.arange(1, 2 * classes) * len(colors) / (2 * classes)
    np.testing.assert_array_equal(changes, expected)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 28, 28, 1)), r"Received: shape=\(2, 28, 28, 1\)"),
        (np.zeros((2, 2, 28, 28, 2)), r"Received: shape=\(2, 2, 28, 28, 2\)"),
        (np.zeros((2, 2, 28, 28, 1), np.int64), "Received: dtype=int64"),
    ],
)
def test_an_unsupported_shape_or_dtype_is_refused(tmp_path, images, message):
    path = tmp_path / "figure.png"
    with pytest.raises(ValueError, match=message):
        image_grid(images, path=path, **TITLES)
    with pytest.raises(ValueError, match=message):
        reconstructions(images, images, class_names=["a", "b"], path=path, **TITLES)
    with pytest.raises(ValueError, match=message):
        latent_grid(images, quantiles=[0.1, 0.9], axis_labels=AXIS_LABELS, path=path, **TITLES)
    assert not path.exists()


def test_arguments_that_do_not_match_are_refused(tmp_path):
    images, path = np.zeros((2, 2, 8, 8, 1)), tmp_path / "figure.png"
    with pytest.raises(ValueError, match=r"Received: shape=\(2, 1, 8, 8, 1\)"):
        reconstructions(images, images[:, :1], class_names=["a", "b"], path=path, **TITLES)
    with pytest.raises(ValueError, match=r"2 names\. Received: 1"):
        reconstructions(images, images, class_names=["a"], path=path, **TITLES)
    with pytest.raises(ValueError, match="3 rows and columns"):
        latent_grid(images, quantiles=[0.1, 0.5, 0.9], axis_labels=AXIS_LABELS, path=path, **TITLES)


@pytest.mark.parametrize(
    "shape", [(4, 512), (512, 4), (1, 1000), (1000, 1), (1, 30000), (1, 1), (700, 600), (128, 128)]
)
def test_a_picture_has_a_bounded_size(tmp_path, shape):
    images = np.zeros((20, 20, *shape, 1), np.uint8)
    image_grid(images, path=tmp_path / "images.png", **TITLES)
    quantiles = np.linspace(0.05, 0.95, 20).tolist()
    latent_grid(
        images,
        quantiles=quantiles,
        axis_labels=AXIS_LABELS,
        path=tmp_path / "latents.png",
        **TITLES,
    )
    reconstructions(
        images[:, :10],
        images[:, :10],
        class_names=list("abcdefghijklmnopqrst"),
        path=tmp_path / "pairs.png",
        **TITLES,
    )
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            # The picture itself, the gaps between images, and the texts around it.
            assert max(picture.size) < 4096 + 1000, path.name


def test_a_reduced_image_keeps_its_mean(tmp_path):
    images = np.zeros((20, 20, 400, 400, 3), np.uint8)
    images[..., 0::2, :, 0] = 200
    image_grid(images, path=tmp_path / "figure.png", **TITLES)
    with Image.open(tmp_path / "figure.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    red = pixels[(pixels[:, 0] > 0) & (pixels[:, 1] == 0)]
    assert abs(red[:, 0].mean() - 100) < 5


@pytest.mark.parametrize(("count", "shown", "expected"), [
    (20, 20, range(20)), (20, 1, [10]), (20, 4, [2, 7, 12, 17]), (3, 2, [0, 2]),
])  # fmt: skip
def test_fewer_quantiles_are_evenly_spaced(count, shown, expected):
    assert grids._spread(count, shown).tolist() == list(expected)


def test_names_of_rows_are_beside_their_rows(tmp_path):
    images = np.zeros((3, 4, 28, 28, 3), np.uint8)
    images[..., 0] = 255
    names = ["shirt", "", "a class of a long name"]
    image_grid(images, path=tmp_path / "plain.png", **TITLES)
    image_grid(images, row_names=names, path=tmp_path / "named.png", **TITLES)
    plain, named = read(tmp_path / "plain.png"), read(tmp_path / "named.png")
    np.testing.assert_array_equal(colored_box(named), colored_box(plain))
    rows, columns = np.nonzero(is_colored(named))
    left = named[rows.min() : rows.max() + 1, : columns.min()]
    inked = (left < 200).any(axis=(1, 2))
    height = len(inked) // 3
    shares = [inked[start : start + height].any() for start in (0, height, 2 * height)]
    assert shares == [True, False, True]
    with pytest.raises(ValueError, match=r"row_names must contain 3 names\. Received: 1"):
        image_grid(images, row_names=["shirt"], path=tmp_path / "none.png", **TITLES)

"""Tests of mosaics."""

import subprocess
import sys

import numpy as np
import pytest

from components.figures.mosaic import mosaic, to_bytes


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_tiles_are_in_order_and_the_gaps_are_white(rng):
    images = rng.integers(0, 200, (2, 3, 4, 5, 1), dtype=np.uint8)
    picture = mosaic(images, gap=(2, 1))
    assert picture.shape == (2 * 4 + 2, 3 * 5 + 2, 3)
    assert picture.dtype == np.uint8
    is_tile = np.zeros(picture.shape[:2], bool)
    for row in range(2):
        for column in range(3):
            tile = np.s_[row * 6 : row * 6 + 4, column * 6 : column * 6 + 5]
            is_tile[tile] = True
            np.testing.assert_array_equal(picture[tile], images[row, column].repeat(3, axis=2))
    assert (picture[~is_tile] == 255).all()


def test_a_mosaic_without_gaps_is_seamless(rng):
    images = rng.integers(0, 256, (2, 2, 3, 3, 3), dtype=np.uint8)
    expected = np.block([[[images[0, 0]], [images[0, 1]]], [[images[1, 0]], [images[1, 1]]]])
    np.testing.assert_array_equal(mosaic(images, gap=(0, 0)), expected)


def test_floats_are_rounded_and_clipped():
    images = np.array([-0.5, 0, 0.1, 0.999, 1, 1.5], np.float32).reshape(1, 1, 1, 6, 1)
    assert mosaic(images, gap=(0, 0))[0, :, 0].tolist() == [0, 0, 26, 255, 255, 255]


def test_every_byte_survives_the_way_to_floats_and_back():
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_bytes(values.astype(np.float32) / 255), values)
    assert to_bytes(values) is values


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
def test_an_unsupported_shape_or_dtype_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        mosaic(images, gap=(0, 0))


def test_the_import_needs_numpy_alone():
    """The trainer imports it for TensorBoard, and matplotlib takes long to import."""
    code = "import sys, components.figures.mosaic; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    imported = {name.split(".")[0] for name in result.stdout.split()}
    assert "numpy" in imported
    assert not {"matplotlib", "tensorflow", "PIL", "etils"} & imported

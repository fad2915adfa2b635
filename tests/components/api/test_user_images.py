import numpy as np
import pytest
import tensorflow as tf

from components.api import user_images
from components.api.user_images import UserImages, to_pixels
from components.base.errors import ConfigError

GRAY, COLOR = (4, 6, 1), (4, 6, 3)
LEVELS = np.arange(256, dtype=np.uint8)


def pixels_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "image_shape", "picture_shape"),
    [
        ((4, 6, 1), GRAY, (4, 6, 1)),
        ((4, 6), GRAY, (4, 6)),
        ((5, 4, 6, 1), GRAY, (5, 4, 6, 1)),
        ((5, 4, 6), GRAY, (5, 4, 6)),
        ((1, 4, 6), GRAY, (1, 4, 6)),
        ((4, 6, 3), COLOR, (4, 6, 3)),
        ((5, 4, 6, 3), COLOR, (5, 4, 6, 3)),
    ],
)
def test_results_have_the_axes_of_the_images(shape, image_shape, picture_shape):
    images = pixels_of(*shape)
    batch = UserImages.of(images, image_shape)
    assert batch.pixels.shape == (len(batch), *image_shape)
    assert batch.pixels.tobytes() == images.tobytes()
    pictures = batch.pictures(batch.pixels)
    assert pictures.shape == picture_shape
    np.testing.assert_array_equal(pictures, images)
    rows = batch.rows(np.arange(len(batch)))
    assert rows.shape == shape[: len(shape) - (2 if shape[-2:] == image_shape[:2] else 3)]


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [
        ((6, 4), GRAY),
        ((6, 4, 1), GRAY),
        ((5, 4, 6, 3), GRAY),
        ((2, 5, 4, 6), GRAY),
        ((4, 6), COLOR),
        ((5, 4, 6), COLOR),
        ((5, 4, 6, 1), COLOR),
        ((), GRAY),
        ((24,), GRAY),
    ],
)
def test_images_of_another_shape_are_rejected_with_both_shapes(shape, image_shape):
    size = "x".join(map(str, image_shape))
    with pytest.raises(ConfigError) as error:
        UserImages.of(pixels_of(*shape), image_shape)
    assert f"have shape {list(shape)}, but the model takes {size}" in str(error.value)


def test_an_empty_batch_is_rejected():
    with pytest.raises(ConfigError, match="the batch is empty"):
        UserImages.of(pixels_of(0, 4, 6, 1), GRAY)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_rounded_to_the_nearest_level(dtype):
    np.testing.assert_array_equal(to_pixels((LEVELS / 255).astype(dtype)), LEVELS)
    exact = np.array([0.49, 0.51, 1.49, 254.51]) / 255
    np.testing.assert_array_equal(to_pixels(exact), [0, 1, 1, 255])


def test_floats_are_converted_in_blocks(monkeypatch):
    monkeypatch.setattr(user_images, "_BLOCK_VALUES", 50)
    pixels = pixels_of(7, 4, 6)
    np.testing.assert_array_equal(to_pixels(pixels / 255), pixels)


def test_tensors_and_lists_are_images():
    pixels = pixels_of(4, 6)
    for images in (tf.constant(pixels), tf.constant(pixels / 255), (pixels / 255).tolist()):
        np.testing.assert_array_equal(UserImages.of(images, GRAY).pixels[0, ..., 0], pixels)


@pytest.mark.parametrize("dtype", ["int64", "int8", "bool", "complex64", "str", "object"])
def test_other_number_types_are_rejected(dtype):
    with pytest.raises(ConfigError, match=r"uint8 from 0 to 255, or floats from 0 to 1.*dtype="):
        UserImages.of(np.zeros((4, 6)).astype(dtype), GRAY)


def test_rows_of_different_lengths_are_rejected():
    with pytest.raises(ConfigError, match=r"the images cannot be converted to an array: .*shape"):
        UserImages.of([[0.5, 0.5], [0.5]], GRAY)


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, np.nan, np.inf, -np.inf])
def test_values_out_of_range_are_rejected(value):
    images = np.full((4, 6), 0.5)
    images[1, 2] = value
    with pytest.raises(ConfigError, match=r"divide by 255, .* Received: dtype=float64, values"):
        UserImages.of(images, GRAY)

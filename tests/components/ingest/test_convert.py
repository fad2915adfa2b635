import io

import numpy as np
import pytest
from PIL import Image

from components.ingest.conversion import AS_IS, Conversion
from components.ingest.convert import convert, convert_all, shape_after
from components.ingest.decode import decode
from components.ingest.rejection import Reason, UnusableError

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (6, 5), dtype=np.uint8)
RGB = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)


def as_png(pixels: np.ndarray) -> bytes:
    modes = {2: "LA", 3: "RGB", 4: "RGBA"}
    flat = np.ascontiguousarray(pixels.squeeze())
    buffer = io.BytesIO()
    Image.fromarray(flat, modes.get(flat.shape[-1], "L")).save(buffer, "PNG")
    return buffer.getvalue()


def test_arrays_with_nothing_to_convert_are_not_copied():
    assert np.shares_memory(convert(RGB), RGB)
    assert np.shares_memory(convert(GRAY, Conversion((6, 5), 1)), GRAY)
    assert convert(GRAY).shape == (6, 5, 1)
    batch = np.stack([RGB, RGB])
    assert np.shares_memory(convert_all(batch), batch)


@pytest.mark.parametrize(
    "conversion",
    [Conversion(channels=1), Conversion(channels=3), Conversion((4, 4), 3), Conversion((9, 3), 1)],
)
@pytest.mark.parametrize(
    "pixels",
    [
        GRAY,
        RGB,
        RGBA,
        RGBA[:, :, :2],
        GRAY[:, :, None],
        GRAY > 99,
        RGB.astype(np.uint16) * 257,
        RGB.astype(">u2") * 257,
    ],
    ids=["gray", "rgb", "rgba", "la", "one", "bool", "uint16", "big-endian"],
)
def test_arrays_files_and_batches_follow_the_same_rules(pixels, conversion):
    image = convert(pixels, conversion)
    batch = convert_all(np.stack([pixels, pixels[::-1]]), conversion)
    assert image.dtype == batch.dtype == np.uint8
    np.testing.assert_array_equal(batch[0], image)
    np.testing.assert_array_equal(batch[1], convert(pixels[::-1], conversion))
    assert convert_all(np.stack([pixels])[:0], conversion).shape == (0, *image.shape)
    if pixels.dtype == np.uint8:
        np.testing.assert_array_equal(decode(as_png(pixels), conversion), image)


@pytest.mark.parametrize(
    ("pixels", "reason", "message"),
    [
        (RGB.astype(np.float32), Reason.WRONG_TYPE, "float32"),
        (RGB.astype(np.int64), Reason.WRONG_TYPE, "int64"),
        (np.array([["a"]]), Reason.WRONG_TYPE, "<U1"),
        (np.zeros((6, 5, 5), np.uint8), Reason.WRONG_SHAPE, "shape 6x5x5"),
        (np.zeros((0, 5), np.uint8), Reason.WRONG_SHAPE, "shape 0x5x1"),
        (np.zeros(5, np.uint8), Reason.WRONG_SHAPE, "shape 5;"),
        (RGBA, Reason.WRONG_SHAPE, "6x5x4: 4 channels; --channels 1 or 3 converts it"),
    ],
)
def test_other_types_and_shapes_are_refused(pixels, reason, message):
    for function, array in ((convert, pixels), (convert_all, pixels[None])):
        with pytest.raises(UnusableError, match=message) as caught:
            function(array)
        assert caught.value.reason == reason


def test_sixteen_bits_keep_their_upper_eight():
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(convert(values)[:, :, 0], values // 256)
    stretched = np.arange(256, dtype=np.uint16)[None] * 257
    np.testing.assert_array_equal(convert(stretched).ravel(), np.arange(256))


def test_a_bool_becomes_black_or_white():
    np.testing.assert_array_equal(convert(np.array([[True, False]])).ravel(), [255, 0])


def test_transparency_is_blended_with_black_to_the_nearest_integer():
    color, alpha = np.meshgrid(np.arange(256), np.arange(256))
    pixels = np.stack([color, alpha], axis=-1).astype(np.uint8)
    blended = convert(pixels, Conversion(channels=1))[:, :, 0]
    np.testing.assert_array_equal(blended, np.round(color * alpha / 255))


def test_gray_is_repeated_and_colors_become_luma():
    color = convert(GRAY, Conversion(channels=3))
    np.testing.assert_array_equal(color, np.stack([GRAY] * 3, axis=-1))
    luma = RGB @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    np.testing.assert_allclose(convert(RGB, Conversion(channels=1))[:, :, 0], luma, atol=1)


def test_scaling_keeps_proportions_and_crops_evenly():
    # 8 white columns, 16 columns of a ramp, 8 white columns: the square in the middle is the ramp.
    ramp = np.repeat(np.arange(0, 160, 10, dtype=np.uint8)[None], 16, axis=0)
    wide = np.pad(ramp, ((0, 0), (8, 8)), constant_values=255)
    np.testing.assert_array_equal(convert(wide, Conversion((16, 16)))[:, :, 0], ramp)
    np.testing.assert_array_equal(convert(wide.T, Conversion((16, 16)))[:, :, 0], ramp.T)


def test_scaling_is_antialiased():
    """In a checkerboard of pixels, nearest-neighbor sampling would give black, white or stripes."""
    checkerboard = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = convert(checkerboard, Conversion((8, 8)))
    np.testing.assert_allclose(small[1:-1, 1:-1], 127.5, atol=2)


@pytest.mark.parametrize(
    "conversion", [AS_IS, Conversion((7, 9)), Conversion(channels=3), Conversion((1, 1), 1)]
)
@pytest.mark.parametrize("shape", [(6, 5, 1), (6, 5, 3), (1, 1, 1)])
def test_shape_after_is_the_shape_of_the_converted_image(shape, conversion):
    converted = convert(np.zeros(shape, np.uint8), conversion)
    assert shape_after(shape, conversion) == converted.shape


def test_transparency_is_blended_with_a_white_background():
    color, alpha = np.meshgrid(np.arange(256), np.arange(256))
    pixels = np.stack([color, alpha], axis=-1).astype(np.uint8)
    blended = convert(pixels, Conversion(channels=1, background="white"))[:, :, 0]
    np.testing.assert_array_equal(blended, np.round((color * alpha + 255 * (255 - alpha)) / 255))

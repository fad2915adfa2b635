import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.ingest.conversion import BACKGROUNDS, Conversion
from components.ingest.decode import decode
from pipeline.export.image_bytes import decode_images

RNG = np.random.default_rng(0)
SIDES = (23, 31)  # height, width


def smooth(channels: int, height: int = SIDES[0], width: int = SIDES[1]) -> np.ndarray:
    """Pixels with edges and slopes, uint8 [height, width, channels]."""
    coarse = RNG.integers(0, 256, (4, 5, channels), np.uint8)
    planes = [
        np.asarray(Image.fromarray(coarse[..., each]).resize((width, height), Image.BILINEAR))
        for each in range(channels)
    ]
    return np.stack(planes, axis=-1)


def encoded(mode: str, kind: str = "PNG", **options) -> bytes:
    channels = {"1": 1, "L": 1, "P": 3, "I;16": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    pixels = smooth(channels)
    if mode == "I;16":
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257 + 5)
    elif channels == 1:
        picture = Image.fromarray(pixels[..., 0]).convert(mode)
    else:
        picture = Image.fromarray(pixels)
        picture = picture.quantize(16) if mode == "P" else picture
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {f"PNG {mode}": encoded(mode) for mode in ("1", "L", "P", "I;16", "LA", "RGB", "RGBA")}
FILES |= {f"JPEG {mode}": encoded(mode, "JPEG", quality=90) for mode in ("L", "RGB")}


def with_transparent_color(mode: str, bit_depth: int) -> bytes:
    """A PNG of which one color, that of many pixels, is transparent."""
    channels, color_type = {"L": (1, 0), "RGB": (3, 2)}[mode]
    levels = 1 << bit_depth
    samples = RNG.integers(0, levels, (*SIDES, channels))
    color = samples[3, 4]
    samples[::2, ::3] = color
    if bit_depth == 16:  # As good as the color, in the higher bytes alone.
        samples[1::2, ::3] = color ^ 1
    bits = (samples.reshape(SIDES[0], -1, 1) >> np.arange(bit_depth)[::-1] & 1).astype(np.uint8)
    rows = np.packbits(bits.reshape(SIDES[0], -1), axis=1)
    header = struct.pack(">IIBBBBB", SIDES[1], SIDES[0], bit_depth, color_type, 0, 0, 0)
    parts = (
        (b"IHDR", header),
        (b"tRNS", struct.pack(f">{channels}H", *color.tolist())),
        (b"IDAT", zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


FILES |= {
    f"PNG {mode}, {depth} bits, transparent color": with_transparent_color(mode, depth)
    for mode, depth in (("L", 1), ("L", 2), ("L", 4), ("L", 8), ("L", 16), ("RGB", 8), ("RGB", 16))
}
FILES["PNG P, transparent color"] = encoded("P", transparency=3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_prepare(name, background, channels):
    expected = decode(FILES[name], Conversion(SIDES, channels, background))
    found = decode_images(
        tf.constant([FILES[name]]), (*SIDES, channels), background=BACKGROUNDS[background]
    )
    # Two versions of libjpeg decode a JPEG; a PNG has one meaning.
    tolerance = 1 if name.startswith("JPEG") else 0
    assert np.abs(found[0].numpy().astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (64, 16), (11, 60)])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_resized_pixels_are_those_of_prepare_up_to_rounding(mode, size):
    file = encoded(mode)
    expected = decode(file, Conversion(size, 3, "white"))
    found = decode_images(tf.constant([file]), (*size, 3), background=255)
    assert found.shape == (1, *size, 3)
    assert np.abs(found[0].numpy().astype(int) - expected).max() <= 2


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (64, 16), (11, 60)])
@pytest.mark.parametrize("channels", [1, 3])
def test_sharp_edges_are_clipped_as_in_prepare(channels, size):
    buffer = io.BytesIO()
    pixels = 255 * RNG.integers(0, 2, (*SIDES, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    expected = decode(buffer.getvalue(), Conversion(size, channels, "black"))
    found = decode_images(tf.constant([buffer.getvalue()]), (*size, channels), background=0)
    assert np.abs(found[0].numpy().astype(int) - expected).max() <= 2


def test_a_batch_may_mix_files_of_any_kind_or_be_empty():
    batch = list(FILES.values())
    together = decode_images(tf.constant(batch), (9, 9, 1), background=0)
    for file, pixels in zip(batch, together, strict=True):
        alone = decode_images(tf.constant([file]), (9, 9, 1), background=0)[0]
        np.testing.assert_array_equal(pixels, alone)
    assert decode_images(tf.constant([], tf.string), (9, 9, 1), background=0).shape == (0, 9, 9, 1)


@pytest.mark.parametrize("file", [b"", b"no image", FILES["PNG RGB"][:60]])
def test_what_is_no_image_is_an_error(file):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_images(tf.constant([file]), (9, 9, 1), background=0)

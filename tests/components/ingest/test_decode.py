import io
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from components.ingest import png
from components.ingest.conversion import AS_IS, BACKGROUNDS, Conversion
from components.ingest.convert import convert
from components.ingest.decode import START_BYTES, ShapeGroup, decode, decode_all, is_image
from components.ingest.rejection import Reason, UnusableError

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (6, 5), dtype=np.uint8)
RGB = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)


def saved(picture: Image.Image | np.ndarray, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(encoded: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG with one more chunk after its header."""
    return encoded[:33] + chunk(kind, data) + encoded[33:]


def refused(encoded: bytes, conversion: Conversion = AS_IS) -> UnusableError:
    with pytest.raises(UnusableError) as caught:
        decode(encoded, conversion)
    detail = str(caught.value)
    assert detail.isprintable()
    assert 0 < len(detail) < 200
    return caught.value


@pytest.mark.parametrize(
    ("format", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})]
)
def test_lossless_files_decode_to_their_pixels(format, options):
    np.testing.assert_array_equal(decode(saved(RGB, format, **options)), RGB)


def test_gray_keeps_one_channel():
    for format in ("PNG", "BMP"):
        np.testing.assert_array_equal(decode(saved(GRAY, format))[:, :, 0], GRAY)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "WEBP", "GIF"])
def test_the_first_bytes_tell_an_image(format):
    assert is_image(saved(RGB, format)[:START_BYTES]) is (format != "GIF")
    assert not is_image(b"")


def test_a_jpeg_has_the_pixels_of_pillow():
    encoded = saved(RGB, "JPEG")
    np.testing.assert_array_equal(decode(encoded), np.asarray(Image.open(io.BytesIO(encoded))))


@pytest.mark.parametrize(
    ("encoded", "reason", "message"),
    [
        (b"", Reason.EMPTY, "no bytes"),
        (saved(GRAY, "GIF"), Reason.WRONG_TYPE, "a GIF, not PNG, JPEG, WebP or BMP"),
        (
            saved(GRAY, "TIFF"),
            Reason.WRONG_TYPE,
            "a TIFF, not PNG, JPEG, WebP or BMP; convert it to PNG",
        ),
        (saved(GRAY, "PPM"), Reason.WRONG_TYPE, "a PGM"),
        (b"\0\0\0\x18ftypheic....", Reason.WRONG_TYPE, "a HEIC"),
        (b"%PDF-1.7", Reason.WRONG_TYPE, "a PDF"),
        (b"PK\x03\x04...", Reason.WRONG_TYPE, "a zip file"),
        (b"no image\nat all", Reason.WRONG_TYPE, "text"),
        (b"RIFF....WAVEfmt ", Reason.WRONG_TYPE, "not PNG"),
        (bytes(20), Reason.WRONG_TYPE, "unknown content"),
        (saved(GRAY)[:45], Reason.UNDECODABLE, "damaged PNG"),
        (saved(RGB, "JPEG")[:200], Reason.UNDECODABLE, "damaged JPEG"),
        (saved(RGB, "WEBP")[:30], Reason.UNDECODABLE, "damaged WEBP"),
        (saved(RGB, "BMP")[:60], Reason.UNDECODABLE, "damaged BMP"),
        (b"BM and so on", Reason.UNDECODABLE, "damaged BMP"),
        (saved(RGBA), Reason.WRONG_SHAPE, "6x5x4: 4 channels; --channels 1 or 3 converts it"),
    ],
)
def test_a_file_that_is_no_image_is_refused_with_a_reason(encoded, reason, message):
    error = refused(encoded)
    assert error.reason == reason
    assert message in str(error)


def test_sixteen_bits_keep_their_upper_eight():
    stretched = decode(saved(GRAY.astype(np.uint16) * 257))
    np.testing.assert_array_equal(stretched[:, :, 0], GRAY)
    finer = np.array([[0, 255, 256, 65535]], np.uint16)
    assert decode(saved(finer)).ravel().tolist() == [0, 0, 1, 255]


def test_one_bit_is_black_or_white():
    bits = GRAY > 127
    np.testing.assert_array_equal(decode(saved(bits))[:, :, 0], bits * 255)


def test_a_palette_becomes_its_colors_and_a_png_without_it_is_damaged():
    picture = Image.fromarray(RGB).quantize(7)
    np.testing.assert_array_equal(decode(saved(picture)), np.asarray(picture.convert("RGB")))
    encoded = saved(picture)
    start = encoded.index(b"PLTE") - 4
    length = int.from_bytes(encoded[start : start + 4], "big") + 12
    assert refused(encoded[:start] + encoded[start + length :]).reason == Reason.UNDECODABLE


def over_black(rgba: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(rgba)
    black = Image.new("RGB", picture.size)
    return np.asarray(Image.composite(picture.convert("RGB"), black, picture.getchannel("A")))


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_transparent_pixels_become_black_if_channels_is_set(format, options):
    opaque_enough = RGBA | np.uint8([0, 0, 0, 1])  # WebP drops the colors of transparent pixels.
    encoded = saved(opaque_enough, format, **options)
    color = decode(encoded, Conversion(channels=3))
    np.testing.assert_array_equal(color, over_black(opaque_enough))
    luma = decode(encoded, Conversion(channels=1))
    np.testing.assert_array_equal(luma[:, :, 0], np.asarray(Image.fromarray(color).convert("L")))


def test_every_kind_of_transparency_in_png():
    palette = Image.fromarray(RGB).quantize(7)
    first = np.asarray(palette) == 0
    gray_alpha = Image.fromarray(RGBA[:, :, :2], "LA")
    fine = GRAY.astype(np.uint16) * 256 + 7
    key = int(fine[0, 0])
    red = tuple(int(value) for value in RGB[0, 0])
    expected = {
        saved(palette, transparency=0): np.where(first[..., None], 0, palette.convert("RGB")),
        saved(gray_alpha): over_black(RGBA[:, :, [0, 0, 0, 1]]),
        saved(GRAY, transparency=int(GRAY[0, 0])): np.where(int(GRAY[0, 0]) == GRAY, 0, GRAY),
        saved(RGB, transparency=red): np.where((RGB[0, 0] == RGB).all(-1)[..., None], 0, RGB),
        with_chunk(saved(fine), b"tRNS", struct.pack(">H", key)): np.where(fine == key, 0, GRAY),
        # White is the transparent color and becomes black, like the rest.
        with_chunk(saved(GRAY > 127), b"tRNS", b"\0\1"): np.zeros((6, 5)),
    }
    assert len(expected) == 6
    for encoded, pixels in expected.items():
        assert refused(encoded).reason == Reason.WRONG_SHAPE
        color = pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=-1)
        np.testing.assert_array_equal(decode(encoded, Conversion(channels=3)), color)


def test_cmyk_is_converted_by_pillow_if_channels_is_set():
    encoded = saved(Image.fromarray(RGB).convert("CMYK"), "JPEG")
    assert "6x5x4" in str(refused(encoded))
    by_pillow = Image.open(io.BytesIO(encoded)).convert("RGB")
    np.testing.assert_array_equal(decode(encoded, Conversion(channels=3)), by_pillow)


def test_channels_are_converted_in_both_directions():
    gray = decode(saved(RGB), Conversion(channels=1))
    luma = RGB @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    np.testing.assert_allclose(gray[:, :, 0], luma, atol=1)
    color = decode(saved(GRAY), Conversion(channels=3))
    np.testing.assert_array_equal(color, np.stack([GRAY] * 3, axis=-1))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_rotated_by_its_exif_orientation(format):
    # Six fields. Every orientation but the first moves some; JPEG keeps fields of this size apart.
    upright = np.kron(np.uint8([[10, 80, 150], [220, 40, 120]]), np.ones((32, 32), np.uint8))
    # What a camera stores, by the orientation that makes it upright.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        encoded = saved(np.ascontiguousarray(pixels), format, exif=exif)
        for size in (None, (16, 24)):
            image = decode(encoded, Conversion(size, 1))
            expected = upright if size is None else upright[::4, ::4]
            assert image.shape == (*expected.shape, 1)
            # Not near the edges of the fields, which JPEG and the filter blur.
            step = 8 if size is None else 2
            fields = (slice(step, None, 2 * step),) * 2
            np.testing.assert_allclose(image[:, :, 0][fields], expected[fields].astype(int), atol=6)


def test_damaged_exif_affects_no_pixels_and_gives_no_warning():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description stored at an offset"
    encoded = saved(RGB, "JPEG", exif=exif)
    plain = decode(saved(RGB, "JPEG"))
    start = encoded.index(b"Exif\0\0") + 6
    for position in range(start, start + 40):
        damaged = encoded[:position] + b"\xee" + encoded[position + 1 :]
        assert decode(damaged).size == plain.size


def test_an_image_of_the_requested_size_is_not_changed():
    for encoded in (saved(RGB), saved(RGB, "JPEG")):
        np.testing.assert_array_equal(decode(encoded, Conversion((6, 5))), decode(encoded))


def test_scaling_is_antialiased():
    """In a checkerboard of pixels, nearest-neighbor sampling would give black, white or stripes."""
    checkerboard = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = decode(saved(checkerboard), Conversion((8, 8)))
    np.testing.assert_allclose(small[1:-1, 1:-1], 127.5, atol=2)


def test_scaling_keeps_proportions_and_crops_evenly():
    # 8 white columns, 16 columns of a ramp, 8 white columns: the square in the middle is the ramp.
    ramp = np.repeat(np.arange(0, 160, 10, dtype=np.uint8)[None], 16, axis=0)
    wide = np.pad(ramp, ((0, 0), (8, 8)), constant_values=255)
    np.testing.assert_array_equal(decode(saved(wide), Conversion((16, 16)))[:, :, 0], ramp)
    tall = decode(saved(np.ascontiguousarray(wide.T)), Conversion((16, 16)))
    np.testing.assert_array_equal(tall[:, :, 0], ramp.T)
    assert decode(saved(wide), Conversion((40, 30), 3)).shape == (40, 30, 3)


def test_a_large_jpeg_is_decoded_at_reduced_size_to_nearly_the_same_pixels():
    smooth = Image.fromarray(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((1280, 960))
    encoded = saved(smooth, "JPEG", quality=95)
    reduced = decode(encoded, Conversion((30, 40)))
    exact = convert(decode(encoded), Conversion((30, 40)))
    assert 1 <= np.abs(reduced.astype(int) - exact).max() <= 3


def test_a_jpeg_without_its_end_marker_is_decoded_in_a_batch_too():
    encoded = saved(np.kron(RGB, np.ones((9, 9, 1), np.uint8)), "JPEG")
    (group,) = decode_all([encoded, encoded[:-2]], AS_IS, 1 << 20)
    np.testing.assert_array_equal(group.images[0], group.images[1])
    small = Conversion((4, 4), 1)
    np.testing.assert_array_equal(decode(encoded[:-2], small), decode(encoded, small))
    ((row, error),) = decode_all([encoded[:-4]], AS_IS, 1 << 20)
    assert (row, error.reason) == (0, Reason.UNDECODABLE)


def bombs() -> dict[str, bytes]:
    """Small files whose headers announce billions of pixels, or very long sides."""
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0))
    size = struct.pack(">HH", 50000, 50000)
    jpeg = saved(RGB, "JPEG")
    position = jpeg.index(b"\xff\xc0") + 5
    webp = bytearray(saved(RGBA, "WEBP", exif=b"Exif\0\0"))
    webp[24:30] = b"\xff" * 6
    bmp = bytearray(saved(RGB, "BMP"))
    bmp[18:26] = struct.pack("<ii", 50000, -50000)
    # A run-length code that skips 255 rows, in an image with one row of 2**25 pixels.
    row = bytearray(saved(GRAY, "BMP")[:1078])
    row[18:26], row[30:34] = struct.pack("<ii", 2**25, 1), b"\1\0\0\0"
    return {
        "PNG": b"\x89PNG\r\n\x1a\n" + ihdr + chunk(b"IDAT", zlib.compress(b"")),
        "JPEG": jpeg[:position] + size + jpeg[position + 4 :],
        "WebP": bytes(webp),
        "lossless WebP": b"RIFF\x20\0\0\0WEBPVP8L\x14\0\0\0\x2f" + b"\xff" * 4 + bytes(19),
        "BMP": bytes(bmp),
        "BMP of one row": bytes(row) + b"\0\2\0\xff" * 4,
    }


@pytest.mark.parametrize("kind", bombs())
def test_too_many_pixels_are_refused_before_they_are_allocated(kind):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refused(bombs()[kind], Conversion((8, 8), 3))
    assert error.reason == Reason.TOO_LARGE
    assert "33,554,432 pixels" in str(error)
    # The peak memory of the process, in KiB. The pixels of one such image take millions.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_damaged_file_gives_an_image_or_an_unusable_error(format):
    rng = np.random.default_rng(5)
    encoded = saved(RGB, format)
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(encoded)
        for position in rng.integers(len(encoded), size=rng.integers(1, 4)):
            damaged[position] = rng.integers(256)
        damaged = damaged[: rng.integers(len(encoded) // 2, 2 * len(encoded))]
        try:
            assert decode(bytes(damaged), Conversion((4, 4), 1)).shape == (4, 4, 1)
            outcomes.add("decoded")
        except UnusableError as error:
            outcomes.add(error.reason)
    assert {Reason.UNDECODABLE, Reason.WRONG_TYPE} <= outcomes


def batch() -> list[bytes]:
    """Small plain PNGs, with BMPs and files that are no images among them."""
    rng = np.random.default_rng(3)
    encoded = []
    for number in range(120):
        shape = [(8, 6), (6, 8, 3), (5, 5)][number % 3]
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        format = "BMP" if number % 10 == 7 else "PNG"
        encoded.append(saved(pixels, format))
    encoded[11], encoded[50], encoded[119] = b"", encoded[50][:-14] + b"....IEND....", b"text"
    return encoded


@pytest.mark.parametrize("conversion", [Conversion(), Conversion((7, 7), 3), Conversion(None, 1)])
@pytest.mark.parametrize("group_bytes", [1, 500, 1 << 20])
def test_a_batch_decodes_each_file_once_as_decode_does(conversion, group_bytes):
    encoded = batch()
    assert sum(len(rows) for rows, _ in png.decode_all(encoded, 1 << 20)) > 90
    seen_rows = []
    for item in decode_all(encoded, conversion, group_bytes):
        if isinstance(item, ShapeGroup):
            assert item.rows.dtype == np.int64
            assert item.images.nbytes <= group_bytes or len(item.rows) == 1
            for row, image in zip(item.rows.tolist(), item.images, strict=True):
                seen_rows.append(row)
                np.testing.assert_array_equal(image, decode(encoded[row], conversion))
        else:
            row, error = item
            seen_rows.append(row)
            expected = refused(encoded[row], conversion)
            assert (error.reason, str(error)) == (expected.reason, str(expected))
    assert sorted(seen_rows) == list(range(len(encoded)))


def test_files_of_many_sizes_that_become_one_shape_form_one_group():
    encoded = [saved(np.full((1 + row, 1 + row), row, np.uint8)) for row in range(30)]
    encoded[7] = saved(RGB, "JPEG")
    (group,) = decode_all(encoded, Conversion((4, 4), 1), 30 * 16)
    assert sorted(group.rows.tolist()) == list(range(30))
    assert len(list(decode_all(encoded, Conversion((4, 4), 1), 10 * 16))) == 3


def test_a_batch_of_many_shapes_keeps_few_groups_open():
    encoded = [saved(np.full((1, 1 + row), row, np.uint8)) for row in range(60)]
    groups = decode_all(encoded, Conversion(), 1 << 20)
    first = next(groups)
    # The seventeenth shape is one too many; the fullest group is emitted.
    assert first.rows.tolist() == [16]
    rest = [row for group in groups for row in group.rows.tolist()]
    assert sorted([16, *rest]) == list(range(60))


def test_an_empty_batch_gives_no_groups():
    assert list(decode_all([], Conversion(), 1)) == []


def packed_png(samples: np.ndarray, bit_depth: int, key: tuple[int, ...], *, exif=b"") -> bytes:
    """A gray or RGB PNG of any bit depth with a transparent color.

    Args:
      samples: integers, shape [height, width] or [height, width, 3].
      bit_depth: bits of a sample.
      key: the transparent color.
      exif: metadata.
    """
    height, width, *channels = samples.shape
    rows = samples.reshape(height, -1)
    if bit_depth < 8:
        bits = (rows[..., np.newaxis] >> np.arange(bit_depth)[::-1]) & 1
        rows = np.packbits(bits.astype(np.uint8).reshape(height, -1), axis=1)
    rows = rows.astype(">u2" if bit_depth == 16 else "u1")
    stream = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bit_depth, 2 if channels else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            chunk(b"IHDR", header),
            chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)),
            chunk(b"eXIf", exif) if exif else b"",
            chunk(b"IDAT", zlib.compress(stream)),
            chunk(b"IEND", b""),
        )
    )


@pytest.mark.parametrize("background", ["black", "white"])
@pytest.mark.parametrize(
    ("bit_depth", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)]
)
def test_the_transparent_color_is_found_at_every_bit_depth(bit_depth, channels, background):
    highest = 2**bit_depth - 1
    samples = RNG.integers(0, highest + 1, (7, 11, channels))
    if bit_depth == 16:
        # Colors that differ from the transparent one in their lower bytes only are opaque.
        samples = samples[:1, :1] ^ RNG.integers(0, 3, samples.shape)
    for row, column in ((0, 0), (3, 2)):
        key = samples[row, column]
        encoded = packed_png(samples.squeeze(), bit_depth, tuple(key.tolist()))
        scaled = samples >> 8 if bit_depth == 16 else samples * (255 // highest)
        is_transparent = (samples == key).all(-1, keepdims=True)
        expected = np.where(is_transparent, BACKGROUNDS[background], scaled)
        conversion = Conversion(channels=channels, background=background)
        np.testing.assert_array_equal(decode(encoded, conversion), expected)
        assert refused(encoded).reason == Reason.WRONG_SHAPE


def test_the_transparent_color_is_found_in_rotated_images():
    exif = Image.Exif()
    exif[0x112] = 6  # Rotated by 90 degrees.
    samples = RNG.integers(0, 2**16, (4, 6, 3))
    key = tuple(samples[1, 2].tolist())
    plain = packed_png(samples, 16, key)
    rotated = packed_png(samples, 16, key, exif=exif.tobytes().removeprefix(b"Exif\0\0"))
    conversion = Conversion(channels=3, background="white")
    expected = np.rot90(decode(plain, conversion), -1)
    assert (expected == 255).all(-1).sum() == 1
    np.testing.assert_array_equal(decode(rotated, conversion), expected)

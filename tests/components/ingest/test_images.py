import io
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from components.ingest import images, png
from components.ingest.images import Conversion, ShapeGroup
from components.ingest.ledger import Reason, UnusableError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5), dtype=np.uint8)
RGB = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
AS_IT_IS = Conversion()


def saved(picture: Image.Image | np.ndarray, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(encoded: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    return encoded[:33] + chunk(kind, data) + encoded[33:]


def refused(encoded: bytes, conversion: Conversion = AS_IT_IS) -> UnusableError:
    with pytest.raises(UnusableError) as caught:
        images.decode(encoded, conversion)
    detail = str(caught.value)
    assert detail.isprintable()
    assert 0 < len(detail) < 200
    return caught.value


@pytest.mark.parametrize(
    ("format", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})]
)
def test_lossless_files_decode_to_their_pixels(format, options):
    np.testing.assert_array_equal(images.decode(saved(RGB, format, **options)), RGB)


def test_grey_keeps_one_channel():
    for format in ("PNG", "BMP"):
        np.testing.assert_array_equal(images.decode(saved(GREY, format))[:, :, 0], GREY)


def test_jpeg_decodes_as_pillow_does_it():
    encoded = saved(RGB, "JPEG")
    np.testing.assert_array_equal(
        images.decode(encoded), np.asarray(Image.open(io.BytesIO(encoded)))
    )


@pytest.mark.parametrize(
    ("encoded", "reason", "says"),
    [
        (b"", Reason.EMPTY, "no bytes"),
        (saved(GREY, "GIF"), Reason.WRONG_TYPE, "a GIF, not PNG, JPEG, WebP or BMP"),
        (saved(GREY, "TIFF"), Reason.WRONG_TYPE, "a TIFF"),
        (b"%PDF-1.7", Reason.WRONG_TYPE, "a PDF"),
        (b"PK\x03\x04...", Reason.WRONG_TYPE, "a zip file"),
        (b"no image\nat all", Reason.WRONG_TYPE, "text"),
        (b"RIFF....WAVEfmt ", Reason.WRONG_TYPE, "not PNG"),
        (bytes(20), Reason.WRONG_TYPE, "something else"),
        (saved(GREY)[:45], Reason.UNDECODABLE, "damaged PNG"),
        (saved(RGB, "JPEG")[:200], Reason.UNDECODABLE, "damaged JPEG"),
        (saved(RGB, "WEBP")[:30], Reason.UNDECODABLE, "damaged WEBP"),
        (saved(RGB, "BMP")[:60], Reason.UNDECODABLE, "damaged BMP"),
        (b"BM and so on", Reason.UNDECODABLE, "damaged BMP"),
        (saved(RGBA), Reason.WRONG_SHAPE, "6x5x4: 4 channels; --channels 1 or 3 converts it"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(encoded, reason, says):
    error = refused(encoded)
    assert error.reason == reason
    assert says in str(error)


def test_sixteen_bits_keep_their_upper_eight():
    stretched = images.decode(saved(GREY.astype(np.uint16) * 257))
    np.testing.assert_array_equal(stretched[:, :, 0], GREY)
    finer = np.array([[0, 255, 256, 65535]], np.uint16)
    assert images.decode(saved(finer)).ravel().tolist() == [0, 0, 1, 255]


def test_one_bit_is_black_or_white():
    bits = GREY > 127
    np.testing.assert_array_equal(images.decode(saved(bits))[:, :, 0], bits * 255)


def test_a_palette_becomes_its_colours_and_a_png_without_it_is_damaged():
    picture = Image.fromarray(RGB).quantize(7)
    np.testing.assert_array_equal(images.decode(saved(picture)), np.asarray(picture.convert("RGB")))
    encoded = saved(picture)
    start = encoded.index(b"PLTE") - 4
    length = int.from_bytes(encoded[start : start + 4], "big") + 12
    assert refused(encoded[:start] + encoded[start + length :]).reason == Reason.UNDECODABLE


def over_black(rgba: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(rgba)
    black = Image.new("RGB", picture.size)
    return np.asarray(Image.composite(picture.convert("RGB"), black, picture.getchannel("A")))


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_transparency_becomes_black_where_channels_are_asked_for(format, options):
    opaque_enough = RGBA | np.uint8([0, 0, 0, 1])  # WebP forgets colours that nobody sees.
    encoded = saved(opaque_enough, format, **options)
    colour = images.decode(encoded, Conversion(channels=3))
    np.testing.assert_array_equal(colour, over_black(opaque_enough))
    luma = images.decode(encoded, Conversion(channels=1))
    np.testing.assert_array_equal(luma[:, :, 0], np.asarray(Image.fromarray(colour).convert("L")))


def test_every_kind_of_transparency_in_png():
    palette = Image.fromarray(RGB).quantize(7)
    first = np.asarray(palette) == 0
    grey_alpha = Image.fromarray(RGBA[:, :, :2], "LA")
    fine = GREY.astype(np.uint16) * 256 + 7
    key = int(fine[0, 0])
    red = tuple(int(value) for value in RGB[0, 0])
    expected = {
        saved(palette, transparency=0): np.where(first[..., None], 0, palette.convert("RGB")),
        saved(grey_alpha): over_black(RGBA[:, :, [0, 0, 0, 1]]),
        saved(GREY, transparency=int(GREY[0, 0])): np.where(int(GREY[0, 0]) == GREY, 0, GREY),
        saved(RGB, transparency=red): np.where((RGB[0, 0] == RGB).all(-1)[..., None], 0, RGB),
        with_chunk(saved(fine), b"tRNS", struct.pack(">H", key)): np.where(fine == key, 0, GREY),
        # White, named as transparent, becomes as black as the rest.
        with_chunk(saved(GREY > 127), b"tRNS", b"\0\1"): np.zeros((6, 5)),
    }
    assert len(expected) == 6
    for encoded, pixels in expected.items():
        assert refused(encoded).reason == Reason.WRONG_SHAPE
        wanted = pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=-1)
        np.testing.assert_array_equal(images.decode(encoded, Conversion(channels=3)), wanted)


def test_cmyk_is_converted_by_pillow_where_asked_for():
    encoded = saved(Image.fromarray(RGB).convert("CMYK"), "JPEG")
    assert "6x5x4" in str(refused(encoded))
    theirs = Image.open(io.BytesIO(encoded)).convert("RGB")
    np.testing.assert_array_equal(images.decode(encoded, Conversion(channels=3)), theirs)


def test_channels_are_converted_to_and_fro():
    grey = images.decode(saved(RGB), Conversion(channels=1))
    luma = RGB @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    np.testing.assert_allclose(grey[:, :, 0], luma, atol=1)
    colour = images.decode(saved(GREY), Conversion(channels=3))
    np.testing.assert_array_equal(colour, np.stack([GREY] * 3, axis=-1))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_turned_upright(format):
    # Four fields of which every orientation moves at least two; large enough for JPEG.
    upright = np.kron(np.uint8([[10, 80, 150], [220, 40, 120]]), np.ones((32, 32), np.uint8))
    # What a camera stores so that the orientation makes it upright again.
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
            image = images.decode(encoded, Conversion(size, 1))
            wanted = upright if size is None else upright[::4, ::4]
            assert image.shape == (*wanted.shape, 1)
            # Away from the edges, where JPEG and the filter blur.
            step = 8 if size is None else 2
            fields = (slice(step, None, 2 * step),) * 2
            np.testing.assert_allclose(image[:, :, 0][fields], wanted[fields].astype(int), atol=6)


def test_damaged_exif_harms_no_pixels_and_warns_of_nothing():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description that lies elsewhere"
    encoded = saved(RGB, "JPEG", exif=exif)
    plain = images.decode(saved(RGB, "JPEG"))
    start = encoded.index(b"Exif\0\0") + 6
    for place in range(start, start + 40):
        damaged = encoded[:place] + b"\xee" + encoded[place + 1 :]
        assert images.decode(damaged).size == plain.size


def test_an_image_of_the_size_asked_for_is_untouched():
    for encoded in (saved(RGB), saved(RGB, "JPEG")):
        np.testing.assert_array_equal(
            images.decode(encoded, Conversion((6, 5))), images.decode(encoded)
        )


def test_scaling_is_antialiased():
    """Every other pixel is white: dropping pixels would give black, white or stripes."""
    checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = images.decode(saved(checkers), Conversion((8, 8)))
    np.testing.assert_allclose(small[1:-1, 1:-1], 127.5, atol=2)


def test_scaling_keeps_proportions_and_cuts_both_sides_evenly():
    # 8 white columns, 16 of a ramp, 8 white ones; the square in the middle is the ramp.
    ramp = np.repeat(np.arange(0, 160, 10, dtype=np.uint8)[None], 16, axis=0)
    wide = np.pad(ramp, ((0, 0), (8, 8)), constant_values=255)
    np.testing.assert_array_equal(images.decode(saved(wide), Conversion((16, 16)))[:, :, 0], ramp)
    tall = images.decode(saved(np.ascontiguousarray(wide.T)), Conversion((16, 16)))
    np.testing.assert_array_equal(tall[:, :, 0], ramp.T)
    assert images.decode(saved(wide), Conversion((40, 30), 3)).shape == (40, 30, 3)


def test_a_large_jpeg_is_scaled_from_a_smaller_version_of_nearly_the_same_pixels():
    smooth = Image.fromarray(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((1280, 960))
    encoded = saved(smooth, "JPEG", quality=95)
    ours = images.decode(encoded, Conversion((30, 40)))
    slowly = images.convert(images.decode(encoded), Conversion((30, 40)))
    assert 1 <= np.abs(ours.astype(int) - slowly).max() <= 3


def bombs() -> dict[str, bytes]:
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0))
    size = struct.pack(">HH", 50000, 50000)
    jpeg = saved(RGB, "JPEG")
    place = jpeg.index(b"\xff\xc0") + 5
    webp = bytearray(saved(RGBA, "WEBP", exif=b"Exif\0\0"))
    webp[24:30] = b"\xff" * 6
    bmp = bytearray(saved(RGB, "BMP"))
    bmp[18:26] = struct.pack("<ii", 50000, -50000)
    # Run lengths: a step of 255 lines up, of lines as long as the picture has pixels.
    line = bytearray(saved(GREY, "BMP")[:1078])
    line[18:26], line[30:34] = struct.pack("<ii", 2**25, 1), b"\1\0\0\0"
    return {
        "PNG": b"\x89PNG\r\n\x1a\n" + ihdr + chunk(b"IDAT", zlib.compress(b"")),
        "JPEG": jpeg[:place] + size + jpeg[place + 4 :],
        "WebP": bytes(webp),
        "WebP without loss": b"RIFF\x20\0\0\0WEBPVP8L\x14\0\0\0\x2f" + b"\xff" * 4 + bytes(19),
        "BMP": bytes(bmp),
        "BMP of one line": bytes(line) + b"\0\2\0\xff" * 4,
    }


@pytest.mark.parametrize("kind", bombs())
def test_a_header_of_too_many_pixels_is_refused_before_they_are_allocated(kind):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refused(bombs()[kind], Conversion((8, 8), 3))
    assert error.reason == Reason.TOO_LARGE
    assert "33,554,432 pixels" in str(error)
    # KiB that the whole process ever held; one such picture has millions.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP"])
def test_any_damage_gives_an_image_or_an_image_error(format):
    rng = np.random.default_rng(5)
    encoded = saved(RGB, format)
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(encoded)
        for place in rng.integers(len(encoded), size=rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        damaged = damaged[: rng.integers(len(encoded) // 2, 2 * len(encoded))]
        try:
            assert images.decode(bytes(damaged), Conversion((4, 4), 1)).shape == (4, 4, 1)
            outcomes.add("decoded")
        except UnusableError as error:
            outcomes.add(error.reason)
    assert {Reason.UNDECODABLE, Reason.WRONG_TYPE} <= outcomes


def test_arrays_that_fit_come_back_without_a_copy():
    assert np.shares_memory(images.convert(RGB), RGB)
    assert np.shares_memory(images.convert(GREY, Conversion((6, 5), 1)), GREY)
    assert images.convert(GREY).shape == (6, 5, 1)
    batch = np.stack([RGB, RGB])
    assert np.shares_memory(images.convert_all(batch), batch)


@pytest.mark.parametrize(
    "conversion",
    [Conversion(channels=1), Conversion(channels=3), Conversion((4, 4), 3), Conversion((9, 3), 1)],
)
@pytest.mark.parametrize(
    "pixels",
    [
        GREY,
        RGB,
        RGBA,
        RGBA[:, :, :2],
        GREY[:, :, None],
        GREY > 99,
        RGB.astype(np.uint16) * 257,
        RGB.astype(">u2") * 257,
    ],
    ids=["grey", "rgb", "rgba", "la", "one", "bool", "uint16", "big-endian"],
)
def test_arrays_and_files_and_batches_follow_the_same_rules(pixels, conversion):
    one = images.convert(pixels, conversion)
    all_ = images.convert_all(np.stack([pixels, pixels[::-1]]), conversion)
    assert one.dtype == all_.dtype == np.uint8
    np.testing.assert_array_equal(all_[0], one)
    np.testing.assert_array_equal(all_[1], images.convert(pixels[::-1], conversion))
    assert images.convert_all(np.stack([pixels])[:0], conversion).shape == (0, *one.shape)
    if pixels.dtype == np.uint8:
        modes = {2: "LA", 3: "RGB", 4: "RGBA"}
        flat = pixels.squeeze()
        picture = Image.fromarray(np.ascontiguousarray(flat), modes.get(flat.shape[-1], "L"))
        np.testing.assert_array_equal(images.decode(saved(picture), conversion), one)


@pytest.mark.parametrize(
    ("pixels", "reason", "says"),
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
def test_other_arrays_are_refused_with_the_reason(pixels, reason, says):
    for convert, array in ((images.convert, pixels), (images.convert_all, pixels[None])):
        with pytest.raises(UnusableError, match=says) as caught:
            convert(array)
        assert caught.value.reason == (reason)


def batch() -> list[bytes]:
    """Small PNGs for the fast path, other files between them, and some that are no image."""
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
@pytest.mark.parametrize("block_bytes", [1, 500, 1 << 20])
def test_a_batch_decodes_as_its_members_do_each_exactly_once(conversion, block_bytes):
    encoded = batch()
    assert sum(len(rows) for rows, _ in png.decode_all(encoded)) > 90
    seen = []
    for item in images.decode_all(encoded, conversion, block_bytes):
        if isinstance(item, ShapeGroup):
            assert item.rows.dtype == np.int64
            assert item.images.nbytes <= block_bytes + item.images[0].nbytes
            for row, image in zip(item.rows.tolist(), item.images, strict=True):
                seen.append(row)
                np.testing.assert_array_equal(image, images.decode(encoded[row], conversion))
        else:
            row, error = item
            seen.append(row)
            alone = refused(encoded[row], conversion)
            assert (error.reason, str(error)) == (alone.reason, str(alone))
    assert sorted(seen) == list(range(len(encoded)))


def test_a_batch_of_many_shapes_keeps_few_of_them_open():
    encoded = [saved(np.full((1, 1 + row), row, np.uint8)) for row in range(60)]
    groups = images.decode_all(encoded, Conversion(), 1 << 20)
    first = next(groups)
    # The seventeenth shape was one too many; the fullest went.
    assert first.rows.tolist() == [16]
    rest = [row for group in groups for row in group.rows.tolist()]
    assert sorted([16, *rest]) == list(range(60))


def test_an_empty_batch_gives_nothing():
    assert list(images.decode_all([], Conversion(), 1)) == []

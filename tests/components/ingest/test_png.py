import io
import itertools
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from components.ingest import png

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_TYPES = {1: 0, 3: 2}  # By number of channels.
GROUP_BYTES = 1 << 20


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width, height, color=0, depth=8, interlace=0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace))


def png_of(rows: bytes, width, height, channels=1, level=-1) -> bytes:
    """A PNG of filtered rows, each preceded by its filter type."""
    start = SIGNATURE + header(width, height, COLOR_TYPES[channels])
    return start + chunk(b"IDAT", zlib.compress(rows, level)) + chunk(b"IEND", b"")


def random_rows(rng, width, height, channels=1, filters=range(5), top=256) -> bytes:
    """Random filtered rows. Any bytes are an image, since the filters add modulo 256."""
    rows = rng.integers(0, top, (height, 1 + width * channels), dtype=np.uint8)
    rows[:, 0] = rng.choice(list(filters), height)
    return rows.tobytes()


def by_pillow(encoded: bytes) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(encoded)))
    return pixels.reshape(*pixels.shape[:2], -1)


def decode(encoded: list[bytes], group_bytes: int = GROUP_BYTES) -> dict[int, np.ndarray]:
    """The images that `decode_all` decodes, by their rows."""
    by_row = {}
    for rows, images in png.decode_all(encoded, group_bytes):
        assert images.dtype == np.uint8
        assert rows.dtype == np.int64
        assert images.nbytes <= group_bytes or len(images) == 1
        for row, image in zip(rows.tolist(), images, strict=True):
            assert row not in by_row
            by_row[row] = image
    return by_row


def assert_all_equal_pillow(encoded: list[bytes]) -> None:
    decoded = decode(encoded)
    assert sorted(decoded) == list(range(len(encoded)))
    for row, data in enumerate(encoded):
        np.testing.assert_array_equal(decoded[row], by_pillow(data))


@pytest.mark.parametrize("kind", range(5), ids=["none", "sub", "up", "average", "paeth"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_filter_gives_the_pixels_of_pillow(kind, channels):
    rng = np.random.default_rng(kind)
    # Bytes of a narrow range make neighbors equal, so that the Paeth filter has to break ties.
    assert_all_equal_pillow(
        [
            png_of(random_rows(rng, 9, 12, channels, [kind], top), 9, 12, channels)
            for top in [256] * 20 + [4] * 20
        ]
    )


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (1, 7), (7, 1), (2, 3), (28, 28), (64, 5), (5, 64), (145, 145), (20000, 1)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_with_mixed_filters(width, height, channels):
    rng = np.random.default_rng(width)
    assert_all_equal_pillow(
        [
            png_of(random_rows(rng, width, height, channels), width, height, channels, level)
            for level in range(10)
        ]
    )


def test_random_images_of_many_shapes_that_pillow_wrote():
    rng = np.random.default_rng(0)
    encoded, images = [], []
    for _ in range(200):
        shape = (*rng.integers(1, 12, 2), 3)[: rng.integers(2, 4)]
        # Smooth images, so that Pillow uses several filters.
        pixels = np.cumsum(rng.integers(0, 9, shape), axis=0).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=int(rng.integers(10)))
        encoded.append(buffer.getvalue())
        images.append(pixels.reshape(*shape[:2], -1))
    decoded = decode(encoded)
    assert sorted(decoded) == list(range(200))
    for row, pixels in enumerate(images):
        np.testing.assert_array_equal(decoded[row], pixels)


@pytest.mark.parametrize("group_bytes", [1, 60, 61, 1000, 1 << 20])
def test_groups_are_bounded(group_bytes):
    rng = np.random.default_rng(1)
    encoded = [png_of(random_rows(rng, 5, 4, 3), 5, 4, 3) for _ in range(61)]
    assert len(decode(encoded, group_bytes)) == 61
    num_groups = len(list(png.decode_all(encoded, group_bytes)))
    assert num_groups == {1: 61, 60: 61, 61: 61, 1000: 4, 1 << 20: 1}[group_bytes]


def flip(data: bytes, position: int, bit: int = 0) -> bytes:
    return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


ROWS = random_rows(np.random.default_rng(2), 4, 3)
VALID = png_of(ROWS, 4, 3)
START, END = SIGNATURE + header(4, 3), chunk(b"IEND", b"")
STREAM = zlib.compress(ROWS)
TEXT = chunk(b"tEXt", b"a\0b")


def with_stream(stream: bytes) -> bytes:
    """A PNG with a valid CRC around any stream."""
    return START + chunk(b"IDAT", stream) + END


def unfinished(rows: bytes) -> bytes:
    """A zlib stream without its final block and its Adler-32."""
    compressor = zlib.compressobj()
    return compressor.compress(rows) + compressor.flush(zlib.Z_SYNC_FLUSH)


def test_bytes_after_the_end_of_the_stream_are_ignored_as_by_pillow():
    assert_all_equal_pillow([with_stream(STREAM + b"tail")])


@pytest.mark.parametrize(
    "damaged",
    {
        "empty": b"",
        "another type": b"GIF89a" * 20,
        "signature only": SIGNATURE,
        "truncated": VALID[:-20],
        "no IEND": VALID[:-12],
        "bytes after IEND": VALID + b"\0",
        "CRC of IHDR": flip(VALID, 30),
        "CRC of IDAT": flip(VALID, -15),
        "CRC of IEND": flip(VALID, -1),
        "data of IDAT": flip(VALID, 50),
        "length of IDAT": flip(VALID, 36),
        "Adler-32": with_stream(flip(STREAM, -1)),
        "no Adler-32": with_stream(STREAM[:-4]),
        "stream without its end": with_stream(unfinished(ROWS)),
        "garbage after the rows": with_stream(unfinished(ROWS) + b"\xff" * 9),
        "stream truncated": with_stream(STREAM[:-9]),
        "no stream": with_stream(b""),
        "raw deflate": with_stream(STREAM[2:-4]),
        "too few rows": with_stream(zlib.compress(ROWS[:-1])),
        "one row": with_stream(zlib.compress(ROWS[:5])),
        "too many rows": with_stream(zlib.compress(ROWS + b"\0")),
        "unknown filter in the first row": with_stream(zlib.compress(b"\5" + ROWS[1:])),
        "unknown filter": with_stream(zlib.compress(ROWS[:5] + b"\xff" + ROWS[6:])),
        "no IDAT": START + END,
        "two IDATs": START + chunk(b"IDAT", STREAM[:9]) + chunk(b"IDAT", STREAM[9:]) + END,
        "chunk before IDAT": START + TEXT + chunk(b"IDAT", STREAM) + END,
        "chunk after IDAT": START + chunk(b"IDAT", STREAM) + TEXT + END,
    }.items(),
    ids=lambda item: item[0],
)
def test_files_that_are_damaged_or_not_plain_are_skipped(damaged):
    decoded = decode([VALID, damaged[1], VALID])
    assert sorted(decoded) == [0, 2]
    np.testing.assert_array_equal(decoded[2], by_pillow(VALID))


def test_a_damaged_file_is_skipped_wherever_the_damage_is():
    flipped = [flip(VALID, at, bit) for at in range(len(VALID)) for bit in range(8)]
    assert decode(flipped + [VALID[:size] for size in range(len(VALID))]) == {}


def test_a_damaged_stream_with_a_valid_crc_has_the_pixels_of_pillow_or_is_skipped():
    rng = np.random.default_rng(3)
    encoded = []
    for level in (0, 1, 9):
        stream = zlib.compress(random_rows(rng, 4, 3, top=4), level)
        flipped = [flip(stream, at, bit) for at in range(len(stream)) for bit in range(8)]
        truncated = [stream[:size] for size in range(len(stream))]
        encoded += map(with_stream, [stream, *flipped, *truncated])
    decoded = decode(encoded)
    # Damage to the window size in the header of zlib, for example, leaves the pixels as they are.
    assert 3 <= len(decoded) < len(encoded) / 20
    for row, image in decoded.items():
        np.testing.assert_array_equal(image, by_pillow(encoded[row]))


@pytest.mark.parametrize(
    "start",
    [
        header(4, 3, interlace=1),
        header(2, 3, depth=16),
        header(8, 3, depth=4),
        header(4, 3, color=3) + chunk(b"PLTE", bytes(768)),
        header(4, 3, color=3),
        header(2, 3, color=4),
        header(1, 3, color=6),
        header(0, 3),
        header(4, 0),
        header(3, 2**31),
        header(2**31, 3),
    ],
)
def test_other_kinds_of_png_are_skipped(start):
    assert decode([SIGNATURE + start + chunk(b"IDAT", STREAM) + END] * 3) == {}


def test_images_beyond_the_size_limit_are_skipped():
    size = png.MAX_ROW_BYTES
    assert_all_equal_pillow([png_of(bytes(size), size - 1, 1), png_of(bytes(size), 1, size // 2)])
    for width, height in [(size, 1), (1, size // 2 + 1), (256, 256)]:
        assert decode([png_of(bytes((1 + width) * height), width, height)]) == {}


@pytest.mark.parametrize("tall_image_bytes", [1, 700, 10_000])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_in_one_call_of_libspng_do_not_affect_each_other(
    channels, tall_image_bytes, monkeypatch
):
    monkeypatch.setattr(png, "_TALL_IMAGE_BYTES", tall_image_bytes)
    rng = np.random.default_rng(4)
    assert_all_equal_pillow(
        [png_of(random_rows(rng, 9, 7, channels), 9, 7, channels) for _ in range(51)]
    )


def test_a_decompression_bomb_is_not_inflated():
    bomb = with_stream(zlib.compress(bytes(64 << 20)))
    tracemalloc.start()
    try:
        assert sorted(decode([VALID, bomb])) == [0]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_the_paeth_filter_follows_the_specification_for_all_neighbors():
    """PNG specification, section 9.4, for 16 values of each of left, up and corner."""
    values = [0, 1, 2, 3, 63, 64, 100, 127, 128, 129, 170, 200, 252, 253, 254, 255]
    triples = list(itertools.product(values, repeat=3))
    encoded = [
        # The first row is (corner, up), unfiltered. In the second row, both pixels have the Paeth
        # filter, and the first is `left`.
        png_of(bytes([0, corner, up, 4, (left - corner) % 256, 0]), 2, 2)
        for left, up, corner in triples
    ]
    decoded = decode(encoded)
    for row, (left, up, corner) in enumerate(triples):
        estimate = left + up - corner
        expected = min((left, up, corner), key=lambda neighbor: abs(estimate - neighbor))
        assert decoded[row][:, :, 0].tolist() == [[corner, up], [left, expected]]

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from components.ingest import png

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR = {1: 0, 3: 2}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width, height, colour=0, depth=8, interlace=0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def written(rows: bytes, width, height, channels=1) -> bytes:
    """A PNG of rows that are filtered already, each behind its type."""
    start = SIGNATURE + header(width, height, COLOUR[channels])
    return start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def random_rows(rng, width, height, channels=1, kinds=range(5), top=256) -> bytes:
    """Any bytes are a picture: the filters add modulo 256."""
    rows = rng.integers(0, top, (height, 1 + width * channels), dtype=np.uint8)
    rows[:, 0] = rng.choice(list(kinds), height)
    return rows.tobytes()


def by_pillow(encoded: bytes) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(encoded)))
    return pixels.reshape(*pixels.shape[:2], -1)


def decoded(encoded: list[bytes]) -> dict[int, np.ndarray]:
    by_row = {}
    for rows, images in png.decode_all(encoded):
        assert images.dtype == np.uint8
        assert rows.dtype == np.int64
        for row, image in zip(rows.tolist(), images, strict=True):
            assert row not in by_row
            by_row[row] = image
    return by_row


def check_against_pillow(encoded: list[bytes]) -> None:
    ours = decoded(encoded)
    assert sorted(ours) == list(range(len(encoded)))
    for row, data in enumerate(encoded):
        np.testing.assert_array_equal(ours[row], by_pillow(data))


@pytest.mark.parametrize("kind", range(5), ids=["none", "sub", "up", "average", "paeth"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_filter_is_undone_as_pillow_does_it(kind, channels):
    rng = np.random.default_rng(kind)
    # Bytes from a narrow range make neighbours equal, where the Paeth filter has to break ties.
    check_against_pillow(
        [
            written(random_rows(rng, 9, 12, channels, [kind], top), 9, 12, channels)
            for top in [256] * 20 + [4] * 20
        ]
    )


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (1, 7), (7, 1), (2, 3), (28, 28), (64, 5), (5, 64)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_mixed_filters_in_pictures_of_any_size(width, height, channels):
    rng = np.random.default_rng(width)
    check_against_pillow(
        [
            written(random_rows(rng, width, height, channels), width, height, channels)
            for _ in range(width + height)
        ]
    )


def test_pictures_of_pillow_itself_and_of_several_shapes_come_back_in_their_places():
    rng = np.random.default_rng(0)
    encoded = []
    for number in range(90):
        shape = [(8, 6), (6, 8), (8, 6, 3)][number % 3]
        buffer = io.BytesIO()
        # Smooth pictures, so that Pillow chooses filters.
        pixels = np.cumsum(rng.integers(0, 9, shape), axis=0).astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    check_against_pillow(encoded)


def test_more_pictures_than_a_block_holds(monkeypatch):
    monkeypatch.setattr(png, "_BLOCK_PIXELS", 2000)
    rng = np.random.default_rng(1)
    encoded = [written(random_rows(rng, 5, 4, 3), 5, 4, 3) for _ in range(61)]
    assert len(list(png.decode_all(encoded))) > 2
    check_against_pillow(encoded)


def test_a_stream_with_a_tail_is_what_pillow_takes_it_for():
    check_against_pillow([START + chunk(b"IDAT", STREAM + b"tail") + END] * 10)


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


ROWS = random_rows(np.random.default_rng(2), 4, 3)
SOUND = written(ROWS, 4, 3)
START, END = SIGNATURE + header(4, 3), chunk(b"IEND", b"")
STREAM = zlib.compress(ROWS)
TEXT = chunk(b"tEXt", b"a\0b")


@pytest.mark.parametrize(
    "other",
    {
        "empty": b"",
        "no picture": b"GIF89a" * 20,
        "signature only": SIGNATURE,
        "cut": SOUND[:-20],
        "no IEND": SOUND[:-12],
        "something behind": SOUND + b"\0",
        "CRC of IHDR": flip(SOUND, 30),
        "CRC of IDAT": flip(SOUND, -15),
        "data of IDAT": flip(SOUND, 50),
        "checksum of the stream": START + chunk(b"IDAT", flip(STREAM, -1)) + END,
        "stream cut": START + chunk(b"IDAT", STREAM[:-3]) + END,
        "too few rows": START + chunk(b"IDAT", zlib.compress(ROWS[:-1])) + END,
        "too many rows": START + chunk(b"IDAT", zlib.compress(ROWS + b"\0")) + END,
        "unknown filter": START + chunk(b"IDAT", zlib.compress(b"\5" + ROWS[1:])) + END,
        "no IDAT": START + END,
        "two IDATs": START + chunk(b"IDAT", STREAM[:9]) + chunk(b"IDAT", STREAM[9:]) + END,
        "another chunk before": START + TEXT + chunk(b"IDAT", STREAM) + END,
        "another chunk behind": START + chunk(b"IDAT", STREAM) + TEXT + END,
    }.items(),
    ids=lambda item: item[0],
)
def test_what_is_not_sound_and_plain_is_left_out(other):
    ours = decoded([*[SOUND] * 10, other[1], *[SOUND] * 10])
    assert sorted(ours) == [row for row in range(21) if row != 10]
    np.testing.assert_array_equal(ours[20], by_pillow(SOUND))


@pytest.mark.parametrize(
    "start",
    [
        header(4, 3, interlace=1),
        header(2, 3, depth=16),
        header(8, 3, depth=4),
        header(4, 3, colour=3) + chunk(b"PLTE", bytes(768)),
        header(4, 3, colour=3),
        header(2, 3, colour=4),
        header(1, 3, colour=6),
        header(0, 3),
        header(65, 3),
        header(3, 2**31),
    ],
)
def test_other_kinds_of_png_are_left_out_however_many_there_are(start):
    assert decoded([SIGNATURE + start + chunk(b"IDAT", STREAM) + END] * 200) == {}


def test_a_few_pictures_of_a_shape_are_left_to_pillow():
    assert decoded([SOUND] * 6) == {}
    assert len(decoded([SOUND] * 7)) == 7


def test_a_bomb_is_not_inflated():
    import tracemalloc

    bomb = START + chunk(b"IDAT", zlib.compress(bytes(64 << 20))) + END
    tracemalloc.start()
    try:
        assert sorted(decoded([SOUND] * 10 + [bomb])) == list(range(10))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_paeth_agrees_with_the_specification_for_all_neighbours():
    """PNG specification, section 9.4, in small: left, up and corner from 16 values each."""
    values = [0, 1, 2, 3, 63, 64, 100, 127, 128, 129, 170, 200, 252, 253, 254, 255]
    triples = list(itertools.product(values, repeat=3))
    encoded = [
        # Corner and up as they are. Of the second row, both by Paeth, the first is `left`.
        written(bytes([0, corner, up, 4, (left - corner) % 256, 0]), 2, 2)
        for left, up, corner in triples
    ]
    ours = decoded(encoded)
    for row, (left, up, corner) in enumerate(triples):
        estimate = left + up - corner
        wanted = min((left, up, corner), key=lambda neighbour: abs(estimate - neighbour))
        assert ours[row][:, :, 0].tolist() == [[corner, up], [left, wanted]]

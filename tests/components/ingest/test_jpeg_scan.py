import io
import itertools

import numpy as np
import pytest
from PIL import Image

from components.ingest.decode import decode
from components.ingest.jpeg_scan import END, lacks_only_end
from components.ingest.rejection import UnusableError

RNG = np.random.default_rng(0)
SMOOTH = Image.fromarray(RNG.integers(0, 256, (5, 6, 3), np.uint8)).resize((75, 43))
NOISE = Image.fromarray(RNG.integers(0, 256, (43, 75, 3), np.uint8))
BLANK = Image.new("RGB", (40, 24), "white")


def saved(picture: Image.Image, mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    picture.convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def variants() -> dict[str, bytes]:
    files = {}
    pictures = {"smooth": SMOOTH, "noise": NOISE, "blank": BLANK}
    for (name, picture), mode in itertools.product(pictures.items(), ("L", "RGB", "CMYK")):
        for options in (
            {},
            {"quality": 100, "subsampling": 0},
            {"quality": 30, "optimize": True, "subsampling": 1},
            {"restart_marker_blocks": 2},
            {"restart_marker_rows": 1, "quality": 95},
        ):
            files[f"{name} {mode} {options}"] = saved(picture, mode, **options)
    return files


@pytest.mark.parametrize("name", variants())
def test_a_file_without_its_end_marker_keeps_its_exact_pixels(name):
    whole = variants()[name]
    assert whole.endswith(END)
    expected = np.asarray(Image.open(io.BytesIO(whole)))
    for encoded in (whole[:-1], whole[:-2]):
        assert lacks_only_end(encoded)
        if "CMYK" not in name:
            pixels = decode(encoded)
            np.testing.assert_array_equal(pixels.reshape(expected.shape), expected)
    assert not lacks_only_end(whole)


@pytest.mark.parametrize("name", variants())
def test_every_shorter_file_lacks_pixels(name):
    """The last byte of the scan always holds at least one bit of a code."""
    whole = variants()[name]
    start = whole.index(b"\xff\xda")
    # Cutting one byte may cut only half of a stuffed FF 00, whose code is then not complete either.
    for end in {*range(len(whole) - 40, len(whole) - 2), *range(start, len(whole) - 2, 97)}:
        assert not lacks_only_end(whole[: max(end, start)])


def test_a_truncated_file_is_refused_and_never_filled_with_gray():
    for whole in (saved(SMOOTH), saved(NOISE, quality=100), saved(BLANK), saved(BLANK, "L")):
        for end in range(whole.index(b"\xff\xda"), len(whole) - 2):
            with pytest.raises(UnusableError, match="damaged JPEG"):
                decode(whole[:end])


def test_padding_in_place_of_the_end_marker_is_accepted():
    whole = saved(SMOOTH)
    np.testing.assert_array_equal(decode(whole[:-2] + bytes(90)), decode(whole))


@pytest.mark.parametrize(
    "encoded",
    [
        saved(SMOOTH, progressive=True)[:-2],
        b"",
        b"\xff\xd8",
        saved(SMOOTH)[:100],
        saved(SMOOTH)[:-2] + b"\xff\xd0",
        saved(SMOOTH)[:-2] + b"\xff\xfe\0\2",
    ],
)
def test_of_other_files_it_is_not_decided(encoded):
    assert not lacks_only_end(encoded)


def test_any_damage_is_decided_without_an_error():
    whole = saved(SMOOTH, restart_marker_blocks=3)[:-2]
    for _ in range(2000):
        damaged = bytearray(whole)
        for position in RNG.integers(len(whole), size=3):
            damaged[position] = RNG.integers(256)
        assert lacks_only_end(bytes(damaged)) in (False, True)

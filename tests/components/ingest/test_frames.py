import io
import struct

import numpy as np
import pytest
from PIL import Image

from components.ingest.frames import count_frames

RNG = np.random.default_rng(0)


def saved(format: str, frames: int = 1, **options) -> bytes:
    pictures = [Image.fromarray(RNG.integers(0, 256, (9, 8, 3), np.uint8)) for _ in range(frames)]
    buffer = io.BytesIO()
    others = {"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}
    pictures[0].save(buffer, format, **others, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["PNG", "WEBP", "MPO"])
@pytest.mark.parametrize("frames", [2, 5])
def test_frames_are_counted_as_pillow_counts_them(format, frames):
    encoded = saved(format, frames)
    assert Image.open(io.BytesIO(encoded)).n_frames == frames
    assert count_frames(encoded) == frames


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG", "BMP", "GIF"])
def test_one_image_is_one_frame(format):
    assert count_frames(saved(format)) == 1
    assert count_frames(saved(format, exif=Image.Exif()) if format != "BMP" else b"") == 1


def test_a_png_before_whose_pixels_other_chunks_come():
    encoded = saved("PNG")
    text = struct.pack(">I4s", 4, b"tEXt") + b"a\0bc" + bytes(4)
    assert count_frames(encoded[:33] + text + encoded[33:]) == 1


@pytest.mark.parametrize("format", ["PNG", "WEBP", "MPO"])
def test_damaged_headers_are_no_error(format):
    encoded = saved(format, 3)
    for end in range(min(len(encoded), 600)):
        assert count_frames(encoded[:end]) >= 1
    for _ in range(2000):
        flipped = bytearray(encoded)
        flipped[RNG.integers(min(len(encoded), 600))] ^= 1 << RNG.integers(8)
        assert count_frames(bytes(flipped)) >= 1

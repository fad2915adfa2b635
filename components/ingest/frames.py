"""The number of frames in an image file, from its headers: animated PNG and WebP, and MPO.

An MPO (multi-picture object) is a JPEG with further JPEGs behind it, as cameras with two lenses and
many phones write it: http://www.cipa.jp/std/documents/e/DC-007_E.pdf.
"""

import itertools
import struct
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_AFTER_IHDR = 37  # offset of the type of the second chunk of a PNG
_WEBP_ANIMATION = 0x02  # a flag in the chunk VP8X
_MPO = b"MPF\0"
_MPO_NUMBER_OF_IMAGES = 0xB001
_MPO_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_APP2, _SCAN = 0xE2, 0xDA
_MAX_SEGMENTS = 1000


def count_frames(encoded: bytes) -> int:
    """Number of frames; 1 for all files that hold one image, are damaged, or are of other types."""
    # Damaged headers end the search; whether the file can be used is decided when it is decoded.
    try:
        if encoded.startswith(_PNG):
            return _count_png_frames(encoded)
        if encoded.startswith(_JPEG):
            return _count_mpo_frames(encoded)
        if encoded[:4] == b"RIFF" and encoded[8:16] == b"WEBPVP8X" and len(encoded) > 20:
            return _count_webp_frames(encoded) if encoded[20] & _WEBP_ANIMATION else 1
    except struct.error:
        pass
    return 1


def _count_png_frames(encoded: bytes) -> int:
    """The number in the chunk acTL, which precedes the first IDAT."""
    # Most files have no chunk between IHDR and IDAT; the loop would cost a tenth of the decoding.
    if encoded[_AFTER_IHDR : _AFTER_IHDR + 4] == b"IDAT":
        return 1
    position = len(_PNG)
    for _ in range(_MAX_SEGMENTS):
        length, kind = struct.unpack_from(">I4s", encoded, position)
        if kind == b"acTL":
            return max(1, *struct.unpack_from(">I", encoded, position + 8))
        if kind == b"IDAT":
            break
        position += length + 12
    return 1


def _count_webp_frames(encoded: bytes) -> int:
    count, position = 0, 12
    while position + 8 <= len(encoded):
        kind, length = struct.unpack_from("<4sI", encoded, position)
        count += kind == b"ANMF"
        position += 8 + length + length % 2
    return max(1, count)


def _count_mpo_frames(encoded: bytes) -> int:
    """The number of images in the index of an MPO."""
    for marker, start, length in itertools.islice(_jpeg_segments(encoded), _MAX_SEGMENTS):
        if marker == _APP2 and encoded.startswith(_MPO, start):
            return _number_in_mpo_index(encoded[start + len(_MPO) : start + length])
    return 1


def _jpeg_segments(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields the marker, start and length of the content of each segment before the pixels."""
    position = 2
    while encoded[position : position + 1] == b"\xff":
        marker, length = struct.unpack_from(">xBH", encoded, position)
        if marker == _SCAN:
            return
        yield marker, position + 4, length - 2
        position += 2 + max(2, length)


def _number_in_mpo_index(index: bytes) -> int:
    """The number of images in an index, which has the structure of a TIFF directory."""
    order = _MPO_BYTE_ORDERS.get(index[:4])
    if order is None:
        return 1
    (directory,) = struct.unpack_from(f"{order}I", index, 4)
    (entries,) = struct.unpack_from(f"{order}H", index, directory)
    for entry in range(entries):
        tag, value = struct.unpack_from(f"{order}H6xI", index, directory + 2 + 12 * entry)
        if tag == _MPO_NUMBER_OF_IMAGES:
            return max(1, value)
    return 1

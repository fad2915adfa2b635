"""Decoding of many small plain PNGs: the same pixels as Pillow's, in a third of the time.

Pillow takes longer to open a small image than to decode it. This module inflates the files one by
one and undoes the row filters of many images in one call of libspng (through the package pyspng).
libspng gets them as one tall uncompressed PNG, with a row of zeros between the images. The zeros
change no pixel: the filters of an image's first row are defined as if the row above it were zero.

pyspng disables libspng's checks of CRC-32 and Adler-32, so it would decode a damaged file to wrong
pixels without an error. Therefore libspng never sees the files: this module checks their structure
and CRC-32, and zlib checks their Adler-32.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyspng

from components.base.shapes import Shape
from components.ingest.convert import MODES

# Limit on the filtered rows of an image, enough for 147x147 RGB or 255x255 gray pixels. For larger
# images the time that Pillow takes to open a file does not matter.
MAX_ROW_BYTES = 1 << 16
# Limit on the filtered rows per call of libspng, so that they fit into the CPU's cache.
_TALL_IMAGE_BYTES = 256 << 10

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">8s I4s IIBBBBB I")  # Signature and IHDR: length, type, data, CRC.
_IDAT_START = _HEADER.size
_IDAT_CRC = zlib.crc32(b"IDAT")
_IEND = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
_TAIL_BYTES = 4 + len(_IEND)  # The CRC of IDAT, and IEND.
_CHANNELS = {0: 1, 2: 3}  # By color type: gray, RGB.
_COLOR_TYPES = {1: 0, 3: 2}
_MAX_FILTER_TYPE = 4


def decode_all(
    encoded: Sequence[bytes], group_bytes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Decodes the small plain PNGs among the inputs, and skips all other inputs silently.

    A file is decoded if it is undamaged, is 8-bit gray or RGB without interlacing, has at most
    MAX_ROW_BYTES of filtered rows, and has no chunks except IHDR, one IDAT and IEND.

    Args:
      encoded: contents of files of any kind.
      group_bytes: limit on the bytes of pixels per group (one image may exceed it).

    Yields:
      For each group of images of the same shape:
      rows: int64, shape [N]: the positions of the files in `encoded`.
      images: uint8, shape [N, height, width, channels].
    """
    rows_by_header: dict[bytes, list[int]] = {}
    for row, data in enumerate(encoded):
        rows_by_header.setdefault(data[: _HEADER.size], []).append(row)
    for header, rows in rows_by_header.items():
        if (shape := _plain_shape(header)) is None:
            continue
        step = max(1, group_bytes // math.prod(shape))
        for start in range(0, len(rows), step):
            yield from _decode_group(encoded, rows[start : start + step], shape)


def _plain_shape(header: bytes) -> Shape | None:
    """The image shape in a file's first bytes; None if this module does not decode such files."""
    if len(header) < _HEADER.size:
        return None
    signature, length, kind, width, height, depth, color, *methods, crc = _HEADER.unpack(header)
    is_plain = (
        (signature, length, kind) == (_SIGNATURE, 13, b"IHDR")
        and crc == zlib.crc32(header[12:29])
        and depth == 8
        and color in _CHANNELS
        and methods == [0, 0, 0]  # Compression, filter, interlace.
        and height >= 1
        and width >= 1
    )
    if not is_plain:
        return None
    shape = (height, width, _CHANNELS[color])
    return shape if height * _row_bytes(shape) <= MAX_ROW_BYTES else None


def _row_bytes(shape: Shape) -> int:
    """The size of a filtered row: a byte with the type of the filter, and the pixels."""
    _, width, channels = shape
    return 1 + width * channels


def _decode_group(
    encoded: Sequence[bytes], rows: list[int], shape: Shape
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Decodes the files at `rows`, which have headers of one image shape, except damaged ones."""
    size = shape[0] * _row_bytes(shape)
    inflated = {row: _inflate(encoded[row], size) for row in rows}
    streams = {row: stream for row, stream in inflated.items() if stream is not None}
    indices = np.fromiter(streams, np.int64)
    filtered = np.frombuffer(b"".join(streams.values()), np.uint8)
    filtered = filtered.reshape(len(indices), shape[0], _row_bytes(shape))
    is_valid = (filtered[:, :, 0] <= _MAX_FILTER_TYPE).all(axis=1)
    if not is_valid.all():
        indices, filtered = indices[is_valid], filtered[is_valid]
    if len(indices):
        yield indices, _unfilter(filtered, shape)


def _inflate(data: bytes, size: int) -> bytes | None:
    """The filtered rows of a plain PNG; None if the file is damaged or has other chunks.

    Args:
      data: a file with a valid header.
      size: the number of bytes that the rows must have.
    """
    idat = data[_IDAT_START + 8 : -_TAIL_BYTES]
    if (
        data[_IDAT_START : _IDAT_START + 8] != len(idat).to_bytes(4, "big") + b"IDAT"
        or data[-_TAIL_BYTES:] != zlib.crc32(idat, _IDAT_CRC).to_bytes(4, "big") + _IEND
    ):
        return None
    inflater = zlib.decompressobj()
    try:
        # The limit keeps a decompression bomb small; one byte more shows that there is more.
        rows = inflater.decompress(idat, size + 1)
    except zlib.error:
        return None
    # zlib compares the Adler-32 when it reaches the end of the stream.
    return rows if inflater.eof and len(rows) == size else None


def _unfilter(filtered: np.ndarray, shape: Shape) -> np.ndarray:
    """Undoes the row filters of N images.

    Args:
      filtered: uint8, shape [N, height, 1 + width * channels]: rows, each preceded by its filter
        type.
      shape: (height, width, channels).

    Returns:
      uint8, shape [N, height, width, channels].
    """
    height, width, channels = shape
    images = np.empty((len(filtered), *shape), np.uint8)
    step = max(1, _TALL_IMAGE_BYTES // filtered[0].nbytes)
    for start in range(0, len(filtered), step):
        part = filtered[start : start + step]
        # A row of zeros after each image; its filter type, zero too, means "not filtered".
        rows = np.pad(part, ((0, 0), (0, 1), (0, 0)))
        tall_png = _uncompressed_png(rows, (len(part) * (height + 1), width, channels))
        pixels = pyspng.load(tall_png, MODES[channels])
        pixels = pixels.reshape(len(part), height + 1, width, channels)
        images[start : start + step] = pixels[:, :height]
    return images


def _uncompressed_png(rows: np.ndarray, shape: Shape) -> bytes:
    """A PNG file of filtered rows."""
    height, width, channels = shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    stream = zlib.compress(rows.tobytes(), level=0)
    return b"".join((_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", stream), _IEND))


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    """The parts of a chunk: length, type, data and CRC."""
    crc = zlib.crc32(data, zlib.crc32(kind))
    return len(data).to_bytes(4, "big"), kind, data, crc.to_bytes(4, "big")

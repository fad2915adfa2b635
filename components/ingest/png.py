"""Small PNGs by the thousand: the same pixels as Pillow's, at a fraction of its time.

Opening a picture costs Pillow more than decoding it where the picture is small. Here only the
inflating is done one by one; the row filters are undone for many pictures at once.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

# Larger pictures gain little, since Pillow's cost per file no longer counts.
MAX_SIDE = 64

_HEADER = struct.Struct(">8s I4s IIBBBBB I")  # Signature and IHDR: length, type, data, CRC.
_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
_IDAT_CRC = zlib.crc32(b"IDAT")
_CHANNELS = {0: 1, 2: 3}  # By colour type: grey, RGB.

# Pixels that are unfiltered at once; some MB, so that they stay in the caches.
_BLOCK_PIXELS = 4 << 20


def decode_all(encoded: Sequence[bytes]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Decodes those inputs that are small plain PNGs, and leaves out all others in silence.

    Taken are sound files of 8-bit grey or RGB without interlacing, of at most MAX_SIDE pixels a
    side, whose only chunks are IHDR, one IDAT and IEND, if there are enough of a shape.

    Yields:
      rows: int64, shape [N]: the inputs' places, and
      images: uint8, shape [N, height, width, channels].
    """
    rows_of: dict[bytes, list[int]] = {}
    for row, data in enumerate(encoded):
        rows_of.setdefault(data[: _HEADER.size], []).append(row)
    for header, rows in rows_of.items():
        shape = _plain_shape(header)
        # NumPy's cost per block grows with the diagonals, so a few are faster one by one.
        if shape is not None and len(rows) >= shape[0] + shape[1]:
            yield from _decode_alike(encoded, rows, shape)


def _plain_shape(header: bytes) -> tuple[int, int, int] | None:
    """(height, width, channels) by a file's first bytes; None where it is not for us."""
    if len(header) < _HEADER.size:
        return None
    signature, length, kind, width, height, depth, colour, *methods, crc = _HEADER.unpack(header)
    is_plain = (
        (signature, length, kind) == (b"\x89PNG\r\n\x1a\n", 13, b"IHDR")
        and crc == zlib.crc32(header[12:29])
        and depth == 8
        and colour in _CHANNELS
        and methods == [0, 0, 0]  # Compression, filter, interlace.
        and 1 <= height <= MAX_SIDE
        and 1 <= width <= MAX_SIDE
    )
    return (height, width, _CHANNELS[colour]) if is_plain else None


def _decode_alike(
    encoded: Sequence[bytes], rows: list[int], shape: tuple[int, int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    height, width, channels = shape
    size = height * (1 + width * channels)
    unfilter = _Unfilter(shape, len(rows))
    for first in range(0, len(rows), unfilter.capacity):
        taken, streams = [], []
        for row in rows[first : first + unfilter.capacity]:
            stream = _inflate(encoded[row], size)
            if stream is not None:
                taken.append(row)
                streams.append(stream)
        filtered = np.frombuffer(b"".join(streams), np.uint8).reshape(len(taken), height, -1)
        indices = np.array(taken, np.int64)
        valid = (filtered[:, :, 0] <= 4).all(axis=1)
        if not valid.all():
            filtered, indices = filtered[valid], indices[valid]
        if len(indices):
            yield indices, unfilter(filtered)


def _inflate(data: bytes, size: int) -> bytes | None:
    """The rows in the only IDAT of a file; None where anything but `size` sound bytes is there."""
    idat = data[41:-16]
    # Length and type, the CRC, then IEND and nothing else.
    if (
        data[33:41] != len(idat).to_bytes(4, "big") + b"IDAT"
        or data[-16:] != zlib.crc32(idat, _IDAT_CRC).to_bytes(4, "big") + _END
    ):
        return None
    # No encoder makes so small a picture much larger; what is, might be a bomb.
    if len(idat) > 2 * size + 1024:
        return None
    try:
        inflated = zlib.decompress(idat, bufsize=size)
    except zlib.error:
        return None
    return inflated if len(inflated) == size else None


class _Unfilter:
    """Undoes the row filters of many pictures of one shape, with buffers that are used again.

    A pixel needs those to the left, above, and above left. So all of a diagonal are ready at once:
    pixel (row, column) lies in plane `row + column + 2` at `row + 1`, beside those of the other
    pictures and channels. Then its neighbours lie in the planes before at the same and the
    previous row, and what lies beyond the edges stays zero.
    """

    def __init__(self, shape: tuple[int, int, int], num_images: int):
        height, width, channels = self._shape = shape
        planes = height + width + 1
        most = max(1, _BLOCK_PIXELS // (planes * (height + 1) * channels))
        # Blocks of about one size; odd, since at powers of two the planes collide in the caches.
        self.capacity = -(-num_images // -(-num_images // most)) | 1
        lanes = channels * self.capacity
        self._planes = np.zeros((planes, height + 1, channels, self.capacity), np.uint8)
        self._masks = np.zeros((4, height, channels, self.capacity), np.uint8)
        self._buffers = np.empty((6, min(height, width) * lanes), np.uint8)
        self._lanes = lanes

    def __call__(self, filtered: np.ndarray) -> np.ndarray:
        """Pixels [N, height, width, channels] of N pictures' rows, each behind its filter type."""
        height, width, channels = self._shape
        num_images = len(filtered)
        self._set_masks(filtered[:, :, 0])
        pixels = filtered[:, :, 1:].reshape(num_images, height, width, channels)
        for row in range(height):
            lying = self._planes[row + 2 : row + 2 + width, row + 1, :, :num_images]
            lying[...] = pixels[:, row].transpose(1, 2, 0)
        for diagonal in range(height + width - 1):
            self._unfilter_diagonal(diagonal)
        images = np.empty((num_images, height, width, channels), np.uint8)
        for row in range(height):
            lying = self._planes[row + 2 : row + 2 + width, row + 1, :, :num_images]
            images[:, row] = lying.transpose(2, 0, 1)
        return images

    def _set_masks(self, types: np.ndarray) -> None:
        """255 in the rows where a filter looks to the left, up, up left; where it is Average."""
        types = np.ascontiguousarray(types.T)[:, np.newaxis]
        sub, up, average, paeth = ((types == kind).view(np.uint8) for kind in range(1, 5))
        masks = (sub | average | paeth, up | average | paeth, paeth, average)
        for mask, flags in zip(self._masks, masks, strict=True):
            np.negative(flags, out=mask[:, :, : types.shape[-1]])

    def _unfilter_diagonal(self, diagonal: int) -> None:
        height, width, _ = self._shape
        first, last = max(0, diagonal - width + 1), min(height, diagonal + 1)
        lanes = self._lanes
        planes = self._planes.reshape(len(self._planes), -1)
        here = slice((first + 1) * lanes, (last + 1) * lanes)
        above = slice(first * lanes, last * lanes)
        use_left, use_up, use_corner, is_average = self._masks.reshape(4, -1)[:, above]
        low, high, corner, half, is_low, is_high = self._buffers[:, : (last - first) * lanes]

        # With the neighbours that a filter does not use at zero, None, Sub and Up are Paeth too.
        left = np.bitwise_and(planes[diagonal + 1, here], use_left, out=is_low)
        up = np.bitwise_and(planes[diagonal + 1, above], use_up, out=is_high)
        np.bitwise_and(planes[diagonal, above], use_corner, out=corner)
        np.minimum(left, up, out=low)
        np.maximum(left, up, out=high)

        # Without a corner Paeth is `high`; Average is half of high - low, rounded up, below that.
        np.subtract(high, low, out=half)
        np.bitwise_and(half, is_average, out=half)
        half -= np.floor_divide(half, 2, out=is_low)

        # Paeth (PNG specification, section 9.4) takes of left, up and corner the one nearest to
        # left + up - corner, and the first of equals. That is in 8 bits, without overflow, with
        # rise = max(high - corner, 0) and fall = max(corner - low, 0):
        #   low = corner - fall where 2 rise <= fall, high = corner + rise where 2 fall <= rise,
        #   else corner.
        rise = np.subtract(np.maximum(high, corner, out=high), corner, out=high)
        fall = np.subtract(corner, np.minimum(low, corner, out=low), out=low)
        corner -= half
        np.less_equal(rise, np.floor_divide(fall, 2, out=half), out=is_low.view(bool))
        np.less_equal(fall, np.floor_divide(rise, 2, out=half), out=is_high.view(bool))
        # Flags as factors: NumPy is slow where it works under a mask.
        corner += np.multiply(rise, is_high, out=rise)
        corner -= np.multiply(fall, is_low, out=fall)
        planes[diagonal + 2, here] += corner

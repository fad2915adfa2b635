"""Decoding of PNG, JPEG, WebP and BMP files to pixels, with Pillow and, for small PNGs, libspng."""

import collections
import dataclasses
import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyspng
from PIL import (
    BmpImagePlugin,
    ExifTags,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from components.base import file_types
from components.base.errors import one_line
from components.ingest import jpeg_scan, png
from components.ingest.conversion import AS_IS, MAX_PIXELS, Conversion
from components.ingest.convert import convert, convert_all, shape_after
from components.ingest.rejection import Reason, UnusableError

MAX_ENCODED_BYTES = 128 << 20  # Size limit of an encoded file; callers can skip longer ones.
_PNG_BIT_DEPTH = 24  # Offset of the bit depth in a PNG, in bytes.
MAX_SIDE = 2**16 - 1  # in pixels; the limit of JPEG
START_BYTES = 64  # of a file, from which its type is known

# With more shapes than this in one batch, the fullest group is emitted before the batch ends.
_MAX_OPEN_SHAPES = 16

_READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
}

# The exceptions of Pillow for damaged files. The first four were seen in 300,000 damaged files;
# Pillow catches the others from its own readers, or documents them.
_DAMAGE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    zlib.error,
)


# The transposition that turns an image upright, by its EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclasses.dataclass(frozen=True)
class ShapeGroup:
    """Decoded images of the same shape.

    Attributes:
      rows: int64, shape [N]: positions of the images in the batch.
      images: uint8, shape [N, height, width, channels].
    """

    rows: np.ndarray
    images: np.ndarray


def decode(encoded: bytes, conversion: Conversion = AS_IS) -> np.ndarray:
    """Decodes a PNG, JPEG, WebP or BMP file; for an animation, its first frame.

    A JPEG without its end marker is decoded if it provably holds all of its pixels.

    The type is taken from the content. The image is rotated as its EXIF orientation says. CMYK is
    converted to RGB if `channels` is set; `convert` does all other conversions.

    Returns:
      uint8, shape [height, width, channels].

    Raises:
      UnusableError: the file is empty, of another type, damaged or too large, or its channels
        cannot be kept and `conversion` does not set `channels`.
    """
    reader = _reader_of(encoded)
    # Pillow warns of damaged metadata, which does not matter here. `catch_warnings` would be
    # narrower, but it is not thread-safe: threads would restore each other's filters.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        if reader is WebPImagePlugin.WebPImageFile:
            _check_size(*_webp_size(encoded))  # Pillow allocates the pixels when it opens a WebP.
        # Not `Image.open`: it has its own limit of pixels, with a warning, and may take a JPEG for
        # a multi-picture file.
        with reader(io.BytesIO(encoded)) as image:
            _check_size(*image.size)
            pixels = _load(image, encoded, conversion)
    except UnusableError:
        raise
    except _DAMAGE_ERRORS as error:
        if reader is JpegImagePlugin.JpegImageFile and _lacks_only_end(encoded):
            return decode(encoded + jpeg_scan.END, conversion)
        detail = f"damaged {reader.format}: {_summarize(error)}"
        raise UnusableError(Reason.UNDECODABLE, detail) from None
    return convert(pixels, conversion)


def is_image(start: bytes) -> bool:
    """Whether a file that begins with these bytes has a type that `decode` reads.

    Args:
      start: the first `START_BYTES` of the file, or all of a shorter file.
    """
    try:
        return _reader_of(start) is not None
    except UnusableError:
        return False


def decode_all(
    encoded: Sequence[bytes], conversion: Conversion, group_bytes: int
) -> Iterator[ShapeGroup | tuple[int, UnusableError]]:
    """Decodes a batch of files, each as `decode` does; small plain PNGs take a third of the time.

    Args:
      encoded: contents of the files.
      conversion: the conversion of every image.
      group_bytes: limit on the bytes of pixels per group (one image may exceed it). Up to 16 groups
        are in memory at once.

    Yields:
      Each file once: in a group, or as (row, error) if it is not a usable image.
    """
    # The same shape may come in many pieces: one per file header seen, and one per file that Pillow
    # decodes.
    open_groups: dict[tuple[int, ...], list[ShapeGroup]] = collections.defaultdict(list)
    open_bytes: collections.Counter[tuple[int, ...]] = collections.Counter()
    for piece in _decode_pieces(encoded, conversion, group_bytes):
        if not isinstance(piece, ShapeGroup):
            yield piece
            continue
        shape = piece.images.shape[1:]
        if shape in open_groups and open_bytes[shape] + piece.images.nbytes > group_bytes:
            yield _concatenate(open_groups.pop(shape))
            del open_bytes[shape]
        open_groups[shape].append(piece)
        open_bytes[shape] += piece.images.nbytes
        if len(open_groups) > _MAX_OPEN_SHAPES:
            ((fullest, _),) = open_bytes.most_common(1)
            yield _concatenate(open_groups.pop(fullest))
            del open_bytes[fullest]
    for pieces in open_groups.values():
        yield _concatenate(pieces)


def _decode_pieces(
    encoded: Sequence[bytes], conversion: Conversion, piece_bytes: int
) -> Iterator[ShapeGroup | tuple[int, UnusableError]]:
    """Yields groups with up to `piece_bytes` of pixels, and errors."""
    remaining = np.ones(len(encoded), bool)
    for rows, pixels in png.decode_all(encoded, piece_bytes):
        remaining[rows] = False
        image_bytes = math.prod(shape_after(pixels.shape[1:], conversion))
        step = max(1, piece_bytes // image_bytes)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            yield ShapeGroup(rows[part], convert_all(pixels[part], conversion))
    for row in np.flatnonzero(remaining).tolist():
        try:
            image = decode(encoded[row], conversion)
        except UnusableError as error:
            yield row, error
        else:
            yield ShapeGroup(np.array([row], np.int64), image[np.newaxis])


def _concatenate(pieces: list[ShapeGroup]) -> ShapeGroup:
    if len(pieces) == 1:
        return pieces[0]
    return ShapeGroup(
        np.concatenate([piece.rows for piece in pieces]),
        np.concatenate([piece.images for piece in pieces]),
    )


def _reader_of(encoded: bytes) -> type[ImageFile.ImageFile]:
    """Pillow's class for a file, by its first bytes."""
    if not encoded:
        raise UnusableError(Reason.EMPTY, "no bytes")
    for magic, reader in _READERS.items():
        if encoded.startswith(magic) and (magic != b"RIFF" or encoded[8:12] == b"WEBP"):
            return reader
    found = file_types.identify(encoded[: file_types.HEAD_BYTES])
    advice = found.advice and f"; {found.advice}"
    raise UnusableError(Reason.WRONG_TYPE, f"{found.name}, not PNG, JPEG, WebP or BMP{advice}")


def _lacks_only_end(encoded: bytes) -> bool:
    """Whether a JPEG that cannot be decoded holds all of its pixels."""
    # Pixels that depend on what comes after the end are missing. This test is fast, and sufficient
    # to reject a file, but not to accept one: a missing bit may change a pixel by less than 1.
    try:
        zeros, ones = (
            _pixels_of_jpeg(encoded + fill * 64 + jpeg_scan.END) for fill in (b"\0", b"\xff\0")
        )
    except (*_DAMAGE_ERRORS, UnusableError):
        return False
    return np.array_equal(zeros, ones) and jpeg_scan.lacks_only_end(encoded)


def _pixels_of_jpeg(encoded: bytes) -> np.ndarray:
    with JpegImagePlugin.JpegImageFile(io.BytesIO(encoded)) as image:
        _check_size(*image.size)
        return np.asarray(image)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        limits = f"the limits are {MAX_PIXELS:,} pixels and {MAX_SIDE:,} per side"
        raise UnusableError(Reason.TOO_LARGE, f"{height}x{width} pixels; {limits}")


def _webp_size(encoded: bytes) -> tuple[int, int]:
    """(width, height) in the first chunk of a WebP (RFC 9649); arbitrary if it is damaged."""
    kind = encoded[12:16]
    if kind == b"VP8X":
        return (
            int.from_bytes(encoded[24:27], "little") + 1,
            int.from_bytes(encoded[27:30], "little") + 1,
        )
    if kind == b"VP8L":
        bits = int.from_bytes(encoded[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return (
        int.from_bytes(encoded[26:28], "little") & 0x3FFF,
        int.from_bytes(encoded[28:30], "little") & 0x3FFF,
    )


def _load(image: ImageFile.ImageFile, encoded: bytes, conversion: Conversion) -> np.ndarray:
    """Loads an image upright, as an array for `convert`; CMYK as RGB if `channels` is set.

    Args:
      image: the opened file.
      encoded: its content.
      conversion: size and channels that the image will be converted to.
    """
    if conversion.image_size is not None:
        # libjpeg decodes a JPEG that is far too large at 1/2, 1/4 or 1/8 of its size, in less time
        # and memory. Twice the target leaves enough pixels to the filter. Both sides get the
        # longer one, since the EXIF orientation may swap them.
        side = 2 * max(conversion.image_size)
        image.draft(None, (side, side))
    if image.mode == "P" and image.palette is None:
        raise ValueError("no palette")  # Pillow would decode all colors to black.
    image.load()
    transposition = _UPRIGHT.get(_orientation(image))
    if "transparency" in image.info:
        return _with_alpha(image, encoded, transposition)
    picture = _transposed(image, transposition)
    if picture.mode == "P" or (picture.mode == "CMYK" and conversion.channels):
        picture = picture.convert("RGB")
    return np.asarray(picture)


def _transposed(picture: Image.Image, transposition: Image.Transpose | None) -> Image.Image:
    return picture if transposition is None else picture.transpose(transposition)


def _with_alpha(
    image: ImageFile.ImageFile, encoded: bytes, transposition: Image.Transpose | None
) -> np.ndarray:
    """The pixels and alpha of a palette with transparent colors, or of a PNG with a tRNS color."""
    picture = _transposed(image, transposition)
    if picture.mode == "P":
        return np.asarray(picture.convert("RGBA"))
    # Not by Pillow's conversion to RGBA, which clips 16-bit values.
    pixels = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    is_opaque = Image.fromarray(_differs_from_transparent_color(image, encoded))
    opaque = np.asarray(_transposed(is_opaque, transposition))[..., np.newaxis] > 0
    alpha = np.where(opaque, np.iinfo(pixels.dtype).max, 0).astype(pixels.dtype)
    return np.concatenate([pixels, alpha], axis=-1)


def _differs_from_transparent_color(image: ImageFile.ImageFile, encoded: bytes) -> np.ndarray:
    """Whether each pixel of a PNG is opaque: 0 or 255 as uint8, shape [height, width].

    The transparent color in tRNS has the bit depth of the file. Pillow returns it as it is, but
    scales samples of 2 and 4 bits to 8, and reduces RGB samples of 16 bits to 8.
    """
    color = image.info["transparency"]
    bit_depth = encoded[_PNG_BIT_DEPTH]
    if image.mode == "RGB" and bit_depth == 16:
        try:
            samples = pyspng.load(encoded)
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        samples = samples[..., :3]
    else:
        samples = np.asarray(image.convert("L") if image.mode == "1" else image)
        samples = samples.reshape(*samples.shape[:2], -1)
        if image.mode == "L":
            color *= 255 // ((1 << bit_depth) - 1)
    return (samples != color).any(axis=-1).astype(np.uint8) * np.uint8(255)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGE_ERRORS:
        return 1  # Damaged metadata; the pixels may be undamaged.


def _summarize(error: Exception) -> str:
    """An error's class and text: one line of at most 150 printable characters, for the ledger."""
    text = one_line(f"{type(error).__name__}: {error}")
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:150]

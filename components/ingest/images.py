"""Images: encoded files and arrays to uint8 pixels of a chosen size and number of channels.

The rules are the same for files and arrays: 16 bits become 8, then transparency and channels are
settled, then the size. Nothing is converted that is not asked for, but for the bits.
"""

import dataclasses
import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import (
    BmpImagePlugin,
    ExifTags,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from components.base.shapes import format_shape
from components.ingest import png
from components.ingest.conversion import AS_IT_IS, MAX_PIXELS, Conversion
from components.ingest.ledger import Reason, UnusableError

# A caller need not read a longer file; decode refuses more pixels, or longer sides than JPEG has.
MAX_ENCODED_BYTES = 128 << 20
MAX_SIDE = 2**16 - 1

_MAX_OPEN_SHAPES = 16

_READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
}
_OTHERS = {
    b"GIF8": "a GIF",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip file",
    b"\x1f\x8b": "a gzip file",
}

# What Pillow raises on damaged files. Decoding 300,000 of them gave the first four; the others are
# what Pillow itself expects of its readers, or names as what they raise.
_DAMAGED = (
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

# What turns a picture upright, by its EXIF orientation.
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
    """Decoded images of one shape.

    Attributes:
      rows: int64, shape [N]: their places in the batch.
      images: uint8, shape [N, height, width, channels].
    """

    rows: np.ndarray
    images: np.ndarray


def decode(encoded: bytes, conversion: Conversion = AS_IT_IS) -> np.ndarray:
    """The pixels of a PNG, JPEG, WebP or BMP file, of an animation its first picture.

    The content decides, not a name. A picture stands upright, as its EXIF orientation says.
    Otherwise as `convert` does it, and CMYK is converted where `channels` is asked for.

    Returns:
      uint8, shape [height, width, channels].

    Raises:
      UnusableError: the file is empty, of another type, damaged or too large, or has channels that
        `conversion` would have to settle.
    """
    reader = _reader(encoded)
    # Pillow warns of damaged metadata, which do not matter here. catch_warnings would be
    # narrower, but threads that leave it in another order than they came mix up the filters.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        if reader is WebPImagePlugin.WebPImageFile:
            _check_size(*_webp_size(encoded))  # Opening allocates already.
        # Not by Image.open: it has a limit of its own, warns of it, and its JPEGs can be others.
        with reader(io.BytesIO(encoded)) as image:
            _check_size(*image.size)
            pixels = _load(image, conversion)
    except UnusableError:
        raise
    except _DAMAGED as error:
        detail = f"damaged {reader.format}: {_one_line(error)}"
        raise UnusableError(Reason.UNDECODABLE, detail) from None
    return convert(pixels, conversion)


def convert(pixels: np.ndarray, conversion: Conversion = AS_IT_IS) -> np.ndarray:
    """One decoded image as examples have it; itself, not a copy, where it is that already.

    Of 16 bits the upper 8 are kept: 8-bit data that were stretched by 257 come back exactly, and
    Pillow does the same with 16-bit RGB. A bool becomes 0 or 255. Where `channels` is asked for,
    what is transparent becomes black, grey is repeated, and colours become their luma (ITU-R
    601). For `image_size` an image is scaled, its proportions kept, with an antialiased filter
    until it covers the size, and the overhang cut evenly at both sides.

    Args:
      pixels: uint8, uint16 or bool, shape [height, width] or [height, width, 1 to 4], where 2 or
        4 channels end with alpha.

    Returns:
      uint8, shape [height, width, channels].

    Raises:
      UnusableError: another type or shape, or transparency with no `channels` asked for.
    """
    return _fit(_opaque_bytes(pixels, conversion, leading=0), conversion)


def convert_all(batch: np.ndarray, conversion: Conversion = AS_IT_IS) -> np.ndarray:
    """Many images of one shape, converted as `convert` does it with each.

    Args:
      batch: shape [N, height, width] or [N, height, width, 1 to 4].

    Returns:
      uint8, shape [N, height, width, channels].

    Raises:
      UnusableError: as `convert` does; holds for every image.
    """
    opaque = _opaque_bytes(batch, conversion, leading=1)
    shape = _shape_after(opaque.shape[1:], conversion)
    if opaque.shape[1:] == shape:
        return opaque
    converted = np.empty((len(opaque), *shape), np.uint8)
    for place, image in zip(converted, opaque, strict=True):
        place[...] = _fit(image, conversion)
    return converted


def decode_all(
    encoded: Sequence[bytes], conversion: Conversion, block_bytes: int
) -> Iterator[ShapeGroup | tuple[int, UnusableError]]:
    """Decodes a batch as `decode` does it with each, small PNGs faster.

    Holds about `block_bytes` of pixels of a shape, of some shapes at a time.

    Yields:
      Groups, and (row, error) for what is no image; each row of the batch once.
    """
    left = np.ones(len(encoded), bool)
    for rows, pixels in png.decode_all(encoded):
        left[rows] = False
        image_bytes = math.prod(_shape_after(pixels.shape[1:], conversion))
        step = max(1, block_bytes // image_bytes)
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            yield ShapeGroup(rows[part], convert_all(pixels[part], conversion))

    gathered: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    for row in np.flatnonzero(left).tolist():
        try:
            image = decode(encoded[row], conversion)
        except UnusableError as error:
            yield row, error
            continue
        members = gathered.setdefault(image.shape, [])
        members.append((row, image))
        if len(members) * image.nbytes >= block_bytes:
            yield _group(gathered.pop(image.shape))
        elif len(gathered) > _MAX_OPEN_SHAPES:
            fullest = max(gathered, key=lambda shape: len(gathered[shape]) * math.prod(shape))
            yield _group(gathered.pop(fullest))
    for members in gathered.values():
        yield _group(members)


def _group(members: list[tuple[int, np.ndarray]]) -> ShapeGroup:
    rows, pixels = zip(*members, strict=True)
    return ShapeGroup(np.array(rows, np.int64), np.stack(pixels))


def _reader(encoded: bytes) -> type[ImageFile.ImageFile]:
    """Pillow's class for a file, by its first bytes."""
    if not encoded:
        raise UnusableError(Reason.EMPTY, "no bytes")
    for magic, reader in _READERS.items():
        if encoded.startswith(magic) and (magic != b"RIFF" or encoded[8:12] == b"WEBP"):
            return reader
    start = encoded[:64]
    found = next((name for magic, name in _OTHERS.items() if start.startswith(magic)), None)
    if found is None:
        is_text = start.isascii() and start.decode("ascii").replace("\n", "").isprintable()
        found = "text" if is_text else "something else"
    raise UnusableError(Reason.WRONG_TYPE, f"{found}, not PNG, JPEG, WebP or BMP")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        limits = f"at most {MAX_PIXELS:,} pixels and {MAX_SIDE:,} a side are read"
        raise UnusableError(Reason.TOO_LARGE, f"{height}x{width} pixels; {limits}")


def _webp_size(encoded: bytes) -> tuple[int, int]:
    """(width, height) by the first chunk of a WebP (RFC 9649); anything where it has none."""
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


def _load(image: ImageFile.ImageFile, conversion: Conversion) -> np.ndarray:
    """An upright picture as an array that `convert` takes, and RGB of CMYK if that is asked for."""
    if conversion.image_size is not None:
        # A JPEG far larger than needed is decoded at 1/2, 1/4 or 1/8, in less time and memory.
        # Twice the size leaves the filter enough to work on, upright or not.
        side = 2 * max(conversion.image_size)
        image.draft(None, (side, side))
    if image.mode == "P" and image.palette is None:
        raise ValueError("no palette")  # Pillow would take it for black.
    image.load()
    upright = _UPRIGHT.get(_orientation(image))
    picture = image if upright is None else image.transpose(upright)
    if "transparency" in image.info:
        return _with_alpha(picture)
    if picture.mode == "P" or (picture.mode == "CMYK" and conversion.channels):
        picture = picture.convert("RGB")
    return np.asarray(picture)


def _with_alpha(picture: Image.Image) -> np.ndarray:
    """The pixels of a palette with transparent colours, or of a PNG that names one such colour."""
    if picture.mode == "P":
        return np.asarray(picture.convert("RGBA"))
    # Pillow clips 16 bits where it adds alpha.
    pixels = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    is_clear = (pixels == picture.info["transparency"]).all(axis=-1, keepdims=True)
    alpha = np.where(is_clear, 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)
    return np.concatenate([pixels, alpha], axis=-1)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED:
        return 1  # The pixels are sound.


def _opaque_bytes(pixels: np.ndarray, conversion: Conversion, *, leading: int) -> np.ndarray:
    """uint8 [..., height, width, 1 or 3] of what `convert` takes, after `leading` axes."""
    if pixels.ndim == leading + 2:
        pixels = pixels[..., np.newaxis]
    if pixels.ndim != leading + 3 or 0 in pixels.shape[-3:] or pixels.shape[-1] > 4:
        rule = "images are [height, width] or [height, width, 1 to 4]"
        raise UnusableError(
            Reason.WRONG_SHAPE, f"shape {format_shape(pixels.shape[leading:])}; {rule}"
        )
    kind = (pixels.dtype.kind, pixels.dtype.itemsize)
    if kind == ("u", 2):
        pixels = (pixels >> 8).astype(np.uint8)
    elif kind == ("b", 1):
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif kind != ("u", 1):
        raise UnusableError(
            Reason.WRONG_TYPE, f"{pixels.dtype} pixels; uint8, uint16 and bool can be read"
        )
    channels = pixels.shape[-1]
    if channels in (1, 3):
        return pixels
    if conversion.channels is None:
        shape = format_shape(pixels.shape[-3:])
        rule = "--channels 1 or 3 converts it"
        raise UnusableError(Reason.WRONG_SHAPE, f"{shape}: {channels} channels; {rule}")
    # Over black: colour * alpha / 255, rounded.
    colour, alpha = pixels[..., :-1].astype(np.uint16), pixels[..., -1:]
    return ((colour * alpha + 127) // 255).astype(np.uint8)


def _shape_after(shape: tuple[int, ...], conversion: Conversion) -> tuple[int, int, int]:
    """(height, width, channels) of an opaque image after its conversion."""
    height, width, channels = shape
    height, width = conversion.image_size or (height, width)
    return height, width, conversion.channels or channels


def _fit(pixels: np.ndarray, conversion: Conversion) -> np.ndarray:
    """uint8 [height, width, 1 or 3] to the channels and the size asked for."""
    shape = height, width, channels = _shape_after(pixels.shape, conversion)
    if pixels.shape == shape:
        return pixels
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(shape)


def _one_line(error: Exception) -> str:
    """An error's class and text, fit for a ledger."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:150]

"""Conversion of decoded images to uint8, and to a given number of channels and size.

The same steps apply to files and arrays: 16 bits become 8, then transparency and channels are
resolved, then the size. Only the first step is automatic; the others need an option.
"""

import numpy as np
from PIL import Image, ImageOps

from components.base.shapes import Shape, format_shape
from components.ingest.conversion import AS_IS, BACKGROUNDS, Conversion
from components.ingest.rejection import Reason, UnusableError

# By number of channels: the mode in Pillow, and the pixel format in pyspng.
MODES = {1: "L", 3: "RGB"}


def convert(pixels: np.ndarray, conversion: Conversion = AS_IS) -> np.ndarray:
    """Converts one decoded image; returns a view of it if there is nothing to convert.

    16-bit values keep their upper 8 bits, so 8-bit data scaled by 257 is recovered exactly, and the
    result equals Pillow's for 16-bit RGB. A bool becomes 0 or 255. If `channels` is set,
    transparent pixels are blended with the background, gray is repeated, and colors are reduced to
    their luma (ITU-R 601). If `image_size` is set, the image is scaled with an antialiasing filter
    until it covers that size, with its proportions kept, and cropped equally at both ends.

    Args:
      pixels: uint8, uint16 or bool, shape [height, width] or [height, width, channels]. The last
        of 2 or 4 channels is alpha.

    Returns:
      uint8, shape [height, width, channels].

    Raises:
      UnusableError: the type or the shape is not supported, or there is an alpha channel and
        `conversion` does not set `channels`.
    """
    return _fit(_opaque_bytes(pixels, conversion, batch_axes=0), conversion)


def convert_all(batch: np.ndarray, conversion: Conversion = AS_IS) -> np.ndarray:
    """Converts a batch of images of the same shape, each as `convert` does.

    Args:
      batch: shape [N, height, width] or [N, height, width, channels].

    Returns:
      uint8, shape [N, height, width, channels].

    Raises:
      UnusableError: as in `convert`; it applies to every image of the batch.
    """
    opaque = _opaque_bytes(batch, conversion, batch_axes=1)
    shape = shape_after(opaque.shape[1:], conversion)
    if opaque.shape[1:] == shape:
        return opaque
    converted = np.empty((len(opaque), *shape), np.uint8)
    for target, image in zip(converted, opaque, strict=True):
        target[...] = _fit(image, conversion)
    return converted


def shape_after(shape: tuple[int, ...], conversion: Conversion) -> Shape:
    """The shape of an opaque image, [height, width, channels], after its conversion."""
    height, width, channels = shape
    height, width = conversion.image_size or (height, width)
    return height, width, conversion.channels or channels


def _opaque_bytes(pixels: np.ndarray, conversion: Conversion, *, batch_axes: int) -> np.ndarray:
    """Converts bits and transparency: uint8, shape [..., height, width, 1 or 3].

    Args:
      batch_axes: number of axes before the height.
    """
    if pixels.ndim == batch_axes + 2:
        pixels = pixels[..., np.newaxis]
    if pixels.ndim != batch_axes + 3 or 0 in pixels.shape[-3:] or pixels.shape[-1] > 4:
        rule = "images are [height, width] or [height, width, 1 to 4]"
        raise UnusableError(
            Reason.WRONG_SHAPE, f"shape {format_shape(pixels.shape[batch_axes:])}; {rule}"
        )
    kind = (pixels.dtype.kind, pixels.dtype.itemsize)  # In either byte order.
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
    # color * alpha / 255 + background * (1 - alpha / 255), rounded: at most 255 * 255 + 127, which
    # fits into 16 bits.
    color, alpha = pixels[..., :-1].astype(np.uint16), pixels[..., -1:].astype(np.uint16)
    ground = BACKGROUNDS[conversion.background] * (255 - alpha)
    return ((color * alpha + ground + 127) // 255).astype(np.uint8)


def _fit(pixels: np.ndarray, conversion: Conversion) -> np.ndarray:
    """Converts channels and size of uint8 pixels, shape [height, width, 1 or 3]."""
    shape = height, width, channels = shape_after(pixels.shape, conversion)
    if pixels.shape == shape:
        return pixels
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture = picture.convert(MODES[channels])
    if picture.size != (width, height):
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(shape)

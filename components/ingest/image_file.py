"""Reads an image file that a user names, and encodes images as PNG files."""

import io

import numpy as np
from etils import epath
from PIL import Image

from components.base import files
from components.base.errors import ConfigError
from components.ingest import decode
from components.ingest.conversion import Conversion
from components.ingest.rejection import UnusableError


def read(path: epath.Path, conversion: Conversion) -> np.ndarray:
    """The pixels of an image file, uint8 [height, width, channels].

    Args:
      path: the file.
      conversion: the size and the channels to convert it to.

    Raises:
      ConfigError: the file is not an image that can be decoded.
      WorkError: it is not a regular file.
    """
    if (size := files.stat(path).size) > decode.MAX_ENCODED_BYTES:
        raise ConfigError(f"{path} has {size:,} bytes, too many for an image")
    with files.open_regular(path) as file:
        encoded = file.read()
    try:
        return decode.decode(encoded, conversion)
    except UnusableError as error:
        raise ConfigError(f"{path} cannot be used: {error}") from None


def to_png(pixels: np.ndarray) -> bytes:
    """An image as a PNG file.

    Args:
      pixels: uint8, shape [height, width, 1 or 3].
    """
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()

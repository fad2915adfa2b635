"""The lossless image formats that our compression is compared with."""

import dataclasses
import importlib
import importlib.util
import io
import lzma
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

Codec = tuple[Callable[[np.ndarray], bytes], Callable[[bytes], np.ndarray | bytes]]


@dataclasses.dataclass(frozen=True)
class CodedSize:
    """All images, encoded in one format.

    Attributes:
      name: of the format.
      bytes: size of all files.
      write_seconds, read_seconds: time to encode and to decode all images.
      remark: text of the last column.
    """

    name: str
    bytes: float
    write_seconds: float | None
    read_seconds: float | None
    remark: str = ""

    def cells(self, values: int) -> list[str]:
        """The row of the table, for images of `values` values in all."""
        times = [
            "" if seconds is None else f"{seconds:.1f}"
            for seconds in (self.write_seconds, self.read_seconds)
        ]
        bits = f"{8 * self.bytes / values:.3f}"
        return [self.name, f"{self.bytes:,.0f}", bits, *times, self.remark]


def codecs() -> dict[str, Codec]:
    """The lossless formats that are installed, by name."""

    def pillow(kind: str, **options: object) -> Codec:
        def write(image: np.ndarray) -> bytes:
            file = io.BytesIO()
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            Image.fromarray(pixels).save(file, kind, **options)
            return file.getvalue()

        return write, lambda data: np.asarray(Image.open(io.BytesIO(data)))

    found: dict[str, Codec] = {
        "PNG, optimized": pillow("PNG", optimize=True),
        "WebP, lossless": pillow("WEBP", lossless=True, quality=100, method=6),
        "xz -9e of raw pixels": (
            lambda image: _xz(image.tobytes()),
            lzma.decompress,
        ),
    }
    if importlib.util.find_spec("pillow_jxl"):
        importlib.import_module("pillow_jxl")
        found["JPEG XL, lossless"] = pillow("JXL", lossless=True, effort=9)
    elif importlib.util.find_spec("imagecodecs"):
        jxl = importlib.import_module("imagecodecs")
        found["JPEG XL, lossless"] = (
            lambda image: jxl.jpegxl_encode(image, lossless=True, effort=9),
            jxl.jpegxl_decode,
        )
    return found


def _xz(data: bytes) -> bytes:
    """Compresses bytes as `xz -9e` does, with a window no larger than the input."""
    window = max(1 << 12, 1 << len(data).bit_length())
    filters = [
        {
            "id": lzma.FILTER_LZMA2,
            "preset": 9 | lzma.PRESET_EXTREME,
            "dict_size": min(window, 1 << 26),
        }
    ]
    return lzma.compress(data, filters=filters)


def peers(images: np.ndarray) -> Iterator[CodedSize]:
    """Measures every format with a file for each image, and with one sheet."""
    for name, (write, read) in codecs().items():
        for kind, parts in ((" of each image", images), (" of one sheet", [sheet(images)])):
            start = time.perf_counter()
            encoded = [write(part) for part in parts]
            middle = time.perf_counter()
            for data in encoded:
                read(data)
            end = time.perf_counter()
            size = sum(map(len, encoded))
            yield CodedSize(f"{name}{kind}", size, middle - start, end - middle)


def sheet(images: np.ndarray) -> np.ndarray:
    """One sheet with as many rows of images as columns; unused cells are black."""
    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    padded = np.zeros((rows * columns, height, width, channels), np.uint8)
    padded[:count] = images
    grid = padded.reshape(rows, columns, height, width, channels)
    return grid.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)

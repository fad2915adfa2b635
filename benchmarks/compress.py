"""Compares our compression with that of image formats: `python -m benchmarks.compress`.

Every format is lossless. An image format is measured with a file for each image and with one sheet
of all images; xz with the raw pixels of each and of all. Bits/dim are bits for each channel of each
pixel. JPEG XL needs the package imagecodecs or pillow-jxl-plugin; without one its rows are absent.
Our rows are the whole file, with ids and labels, and the times are those of the commands, which
start processes and load the model.
"""

import dataclasses
import importlib
import importlib.util
import io
import lzma
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import command, machine
from benchmarks.tables import at_most, table
from components.base import command_line
from components.base.errors import WorkError
from components.compression.archive import Archive
from components.data.prepared_dataset import PreparedDataset

IMAGES = 10_000
_TARGET = 2.90
_ELBO_RATIO = 1.015
_HEAD = ["", "bytes", "bits/dim", "s to write", "s to read", "remark"]

Codec = tuple[Callable[[np.ndarray], bytes], Callable[[bytes], np.ndarray | bytes]]


@dataclasses.dataclass(frozen=True)
class CodedSize:
    """What a format makes of all images.

    Attributes:
      name: of the format.
      bytes: of all files.
      write_seconds, read_seconds: to encode and to decode all images.
      remark: of the last column.
    """

    name: str
    bytes: float
    write_seconds: float | None
    read_seconds: float | None
    remark: str = ""

    def cells(self, values: int) -> list[str]:
        """The row of the table, for images of as many values."""
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
    """Compresses bytes as `xz -9e` does, with a window that is no larger than they are."""
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
    """All images in one, in rows as long as there are rows; what is left over is black."""
    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    padded = np.zeros((rows * columns, height, width, channels), np.uint8)
    padded[:count] = images
    grid = padded.reshape(rows, columns, height, width, channels)
    return grid.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def ours(
    model: Path, examples: Path, split: str, directory: Path, elbo_bytes: float, values: int
) -> Iterator[CodedSize]:
    """Measures our commands, whose result is compared with the input by `decompress`."""
    path = directory / "ours.vaez"
    common = [sys.executable, "-m", "pipeline"]
    shards = str(examples / f"*-{split}.tfrecord-*")
    compress = [*common, "compress", "--model", model, "--input", shards, "--output", path]
    decompress = [*common, "decompress", "--model", model, "--input", path]
    start = time.perf_counter()
    _run([*compress, "--no_verify"])
    middle = time.perf_counter()
    _run([*decompress, "--output", directory / "restored"])
    end = time.perf_counter()
    size = path.stat().st_size
    blocks = Archive(path).header.block_bytes
    remarks = [
        at_most(round(8 * size / values, 3), _TARGET, "bits/dim"),
        at_most(round(blocks / elbo_bytes, 4), _ELBO_RATIO, "times the ELBO, without the index"),
    ]
    yield CodedSize("ours", size, middle - start, end - middle, "; ".join(remarks))
    yield CodedSize("our negative ELBO", elbo_bytes, None, None)


def _run(arguments: list) -> None:
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True)
    if done.returncode:
        raise WorkError(f"{arguments[3]} failed: {done.stderr.strip().splitlines()[-1]}")


def _elbo_bytes(model: Path, images: np.ndarray) -> float:
    from components.base import tensorflow_setup

    tensorflow_setup.load()
    from components.library.trained_vae import TrainedVAE

    nats = -TrainedVAE.load(model).elbo(images).astype(np.float64).sum()
    return float(nats / math.log(2) / 8)


def _table(sizes: Iterable[CodedSize], values: int) -> str:
    return table(_HEAD, [size.cells(values) for size in sizes])


def main() -> None:
    """Measures the formats on a split, and prints the report."""
    parser = command_line.Parser(prog="python -m benchmarks.compress", description=__doc__)
    for option, text in (
        ("--model", "directory of a model of the preset lossless"),
        ("--examples", "directory of the prepared dataset"),
    ):
        parser.add_argument(option, required=True, type=command_line.path, help=text)
    parser.add_argument("--split", default="test", help="split to compress [test]")
    options = parser.parse(sys.argv[1:])
    model, examples = Path(options.model), Path(options.examples)
    images = PreparedDataset.open(examples).images(options.split)

    def parts() -> Iterator[str]:
        packages = (*machine.PACKAGES, "imagecodecs", "pillow-jxl-plugin")
        yield command.machine_table(packages, images=len(images), full=IMAGES)
        with command.temporary_directory() as directory:
            elbo_bytes = _elbo_bytes(model, images)
            arguments = (model, examples, options.split, directory, elbo_bytes, images.size)
            # In two tables, since the formats take minutes.
            yield _table(ours(*arguments), images.size)
            yield _table(peers(images), images.size)

    command.print_report(parts())


if __name__ == "__main__":
    command_line.run(main)

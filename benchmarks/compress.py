"""Compares our compression with that of image formats: `python -m benchmarks.compress`.

Every format is lossless. Each image format is measured twice: with one file per image, and with one
sheet of all images. xz compresses raw pixels instead. Bits/dim are bits for each channel of each
pixel. JPEG XL needs the package imagecodecs or pillow-jxl-plugin; without one its rows are absent.
Our rows count the whole file, including ids and labels. Our times are those of the commands, which
start processes and load the model. With `--figure`, the sizes are also drawn.
"""

import dataclasses
import math
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import command, machine
from benchmarks.image_formats import CodedSize, peers
from benchmarks.sizes import Bar, draw_sizes
from benchmarks.tables import at_most, table
from components.base import command_line, tensorflow_setup
from components.base.errors import WorkError
from components.base.shapes import format_shape
from components.compression.archive import Archive
from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset
from components.model.registry import MODEL_FILE

IMAGES = 10_000
_TARGET = 2.90
_ELBO_RATIO = 1.015
_HEAD = ["", "bytes", "bits/dim", "s to write", "s to read", "remark"]

_NOISE_SEED = 0


@dataclasses.dataclass(frozen=True)
class ElboBytes:
    """The terms of the negative ELBO of all images, in bytes."""

    rate: float
    distortion: float

    @property
    def total(self) -> float:
        """The negative ELBO."""
        return self.rate + self.distortion


@dataclasses.dataclass(frozen=True)
class OurFile:
    """The file that our command writes for all images.

    Attributes:
      size: the size of the file, with its times.
      elbo: the negative ELBO of the model.
      parts: name and size in bytes of each part of the file.
    """

    size: CodedSize
    elbo: ElboBytes
    parts: list[tuple[str, float]]

    def rows(self) -> list[CodedSize]:
        """The rows of the table."""
        return [self.size, CodedSize("our negative ELBO", self.elbo.total, None, None)]


def ours(
    model: Path, examples: Path, split: str, directory: Path, elbo: ElboBytes, values: int
) -> OurFile:
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
    header = Archive(path).header
    blocks, index = header.block_bytes, header.index_bytes
    remarks = [
        at_most(round(8 * size / values, 3), _TARGET, "bits/dim"),
        at_most(round(blocks / elbo.total, 4), _ELBO_RATIO, "times the ELBO, without the index"),
    ]
    return OurFile(
        CodedSize("ours", size, middle - start, end - middle, "; ".join(remarks)),
        elbo,
        [
            ("pixels, given the latents", elbo.distortion),
            ("latents (the rate)", elbo.rate),
            ("ids and labels", index),
            ("what coding adds to the ELBO", max(0.0, blocks - elbo.total)),
            ("header and digests", size - blocks - index),
        ],
    )


def _run(arguments: list) -> None:
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True)
    if done.returncode:
        raise WorkError(f"{arguments[3]} failed: {done.stderr.strip().splitlines()[-1]}")


def _elbo_bytes(model: Path, examples: ExampleBatch) -> ElboBytes:
    tensorflow_setup.load()
    from components.model import vae
    from components.model.encode import encode_and_score

    loaded = vae.load(model / MODEL_FILE).in_float32()
    draws = np.random.default_rng(_NOISE_SEED).standard_normal(
        (len(examples.images), loaded.latents), np.float32
    )
    found = encode_and_score(loaded, examples.images, draws, examples.labels)
    rate, distortion = (
        float(nats.astype(np.float64).sum() / math.log(2) / 8)
        for nats in (found.rate, found.distortion)
    )
    return ElboBytes(rate, distortion)


def _table(sizes: Iterable[CodedSize], values: int) -> str:
    return table(_HEAD, [size.cells(values) for size in sizes])


def _draw(
    found: OurFile,
    others: Sequence[CodedSize],
    points: Sequence[Bar],
    images: np.ndarray,
    path: str,
) -> None:
    bars = [
        Bar(size.name, 8 * size.bytes / images.size, kind)
        for sizes, kind in (([found.size], "ours"), (others, "measured"))
        for size in sizes
    ]
    draw_sizes(
        [*bars, *points],
        found.parts,
        title="Lossless compression",
        subtitle=f"{len(images):,} images of {format_shape(images.shape[1:])}",
        path=path,
    )


def main() -> None:
    """Measures the formats on a split, and prints the report."""
    parser = command_line.Parser(prog="python -m benchmarks.compress", description=__doc__)
    for option, text in (
        ("--model", "directory of a model of the preset lossless"),
        ("--examples", "directory of the prepared dataset"),
    ):
        parser.add_argument(option, required=True, type=command_line.path, help=text)
    parser.add_argument("--split", default="test", help="split to compress [test]")
    parser.add_argument("--figure", metavar="PNG", help="file to draw the sizes in")
    parser.add_argument(
        "--point",
        metavar="NAME:BITS",
        action="append",
        default=[],
        help="bits/dim from elsewhere, for the figure; may be given several times",
    )
    options = parser.parse(sys.argv[1:])
    points = [Bar.parse(text, "--point") for text in options.point]
    model, examples = Path(options.model), Path(options.examples)
    batch = PreparedDataset.open(examples).read(options.split)
    images = batch.images

    def parts() -> Iterator[str]:
        packages = (*machine.PACKAGES, "imagecodecs", "pillow-jxl-plugin")
        yield command.machine_table(packages, images=len(images), full=IMAGES)
        with command.temporary_directory() as directory:
            elbo = _elbo_bytes(model, batch)
            found = ours(model, examples, options.split, directory, elbo, images.size)
            # In two tables, since the formats take minutes.
            yield _table(found.rows(), images.size)
            others = list(peers(images))
            yield _table(others, images.size)
            if options.figure:
                _draw(found, others, points, images, options.figure)

    command.print_report(parts())


if __name__ == "__main__":
    command_line.run(main)

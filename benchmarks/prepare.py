"""The prepare stage measured beside its peers, in one call: `python -m benchmarks.prepare`.

Each run is a process of its own. Peers are spared what their users do not pay for: their images are
in memory or listed already, and no import counts but in `wall`. Figures of one call compare, those
of different machines or hours only as ratios.
"""

import argparse
import dataclasses
import functools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import machine
from benchmarks.processes import RunError
from benchmarks.rows import (
    Figures,
    Result,
    Row,
    at_least,
    at_most,
    measure,
    run_task,
    section,
    table,
)
from components.base import command_line, console
from components.base.errors import ConfigError, WorkError, nearest
from components.sources import dataset_names

IMAGES = 70_000
FASHION = "fashion_mnist"


@dataclasses.dataclass(frozen=True)
class Bench:
    """What the sections share: sizes, and the files that they read, made when first asked for.

    Attributes:
      directory: for temporary files.
      images: how many.
      repeats: how often a row's speed is measured.
      data_dir: where TFDS keeps its datasets.
    """

    directory: Path
    images: int
    repeats: int
    data_dir: str

    @property
    def train(self) -> int:
        """How many of the images are for training."""
        return self.images * 6 // 7

    @property
    def output(self) -> str:
        """Where rows write."""
        return str(self.directory / "output")

    @functools.cached_property
    def missing(self) -> str:
        """Why Fashion-MNIST cannot be read, if so."""
        found = dataset_names.find_prepared(FASHION, self.data_dir)
        return "" if found else f"skipped: no {FASHION} prepared in {self.data_dir}"

    @property
    def subject(self) -> str:
        return "drawn garments" if self.missing else "Fashion-MNIST"

    @functools.cached_property
    def idx(self) -> str:
        data_dir = "" if self.missing else self.data_dir
        return self._made("idx", "write_idx", images=self.images, data_dir=data_dir)

    @functools.cached_property
    def pngs(self) -> str:
        return self._made("pngs", "write_pngs", idx=self.idx)

    @functools.cached_property
    def shards(self) -> str:
        arguments = ["--dataset", self.idx, "--validation_fraction", "0"]
        return self._made("shards", "prepare", arguments=arguments)

    def _made(self, name: str, task: str, **arguments: object) -> str:
        """The path of what a task writes."""
        path = str(self.directory / name)
        console.say(f"bench: making {name}")
        try:
            run_task(task, arguments | {"output": path}, sample_memory=False)
        except RunError as error:
            raise WorkError(f"what is to be read ({name}) cannot be made: {error}") from None
        return path

    def ours(self, name: str, *arguments: str, missing: str = "") -> Row:
        """A row that runs our prepare stage."""
        given = {"arguments": arguments, "output": self.output}
        return Row(name, "prepare", given, is_ours=True, missing=missing)


# --- sections -------------------------------------------------------------------------------------


def write(bench: Bench) -> str:
    ours, data_dir = bench.ours, bench.data_dir
    peer = {"idx": bench.idx, "output": bench.output}
    rows = [
        ours("ours, TFDS's PNG records", "--dataset", FASHION, "--data_dir", data_dir,
             missing=bench.missing),
        ours("ours, IDX files", "--dataset", bench.idx),
        Row("TFDS's own writer, from memory", "tfds_writer", peer),
        Row("Beam, an element per image, from memory", "beam_writer", peer),
    ]  # fmt: skip
    results = measure(rows, repeats=bench.repeats)
    remark = _remark(
        results[0],
        lambda figures: at_least(figures.rate, 60_000, "images/s"),
        lambda figures: at_most(figures.wall, 6, "s wall"),
    )
    return section(f"Writing TFRecords: {bench.subject}", rows, results, remarks=[remark])


def folder(bench: Bench) -> str:
    cores = machine.num_cores()
    rows = [
        bench.ours("ours, to TFRecords", "--dataset", bench.pngs),
        Row("Pillow in a loop, decoding alone", "pillow_loop", {"directory": bench.pngs}),
        Row("tf.data, decoding alone", "tf_data_folder", {"directory": bench.pngs}),
    ]
    results = measure(rows, repeats=bench.repeats)
    remark = _remark(
        results[0], lambda figures: at_least(figures.rate / cores, 8_000, "images/s per core")
    )
    title = f"A folder of PNG files: {bench.subject}; ratios per core"
    return section(title, rows, results, remarks=[remark], cores=[cores, 1, cores])


def memory(bench: Bench) -> str:
    sizes = (bench.train, bench.images * 10**6 // IMAGES * 6 // 7)
    rows = [
        bench.ours(f"ours, {size:,} of them train", "--dataset", dataset_names.GARMENTS,
                   "--synthetic_size", str(size))
        for size in sizes
    ]  # fmt: skip
    small, large = results = measure(rows, repeats=bench.repeats, for_memory=True)
    more = []
    if isinstance(small, Figures) and isinstance(large, Figures):
        largest, total = large.largest / small.largest, large.total / small.total
        remark = at_most(max(largest, total), 1.3, "times the memory")
        more = [["the second / the first", *[""] * 4, f"{largest:.2f}", f"{total:.2f}", "", remark]]
    title = "Memory over size: drawn garments; speed is disturbed by the sampling"
    return section(title, rows, results, more=more)


def read(bench: Bench) -> str:
    shards = {"directory": bench.shards}
    tfds = {"data_dir": bench.data_dir, "images": bench.train}
    rows = [
        Row("ours, our shards", "read_ours", shards, is_ours=True),
        Row("tf.data, our shards, an example at a time", "read_tf_data", shards),
        Row("TFDS, its PNG records", "read_tfds", tfds, missing=bench.missing),
    ]
    results = measure(rows, repeats=bench.repeats)
    remark = _remark(results[0], lambda figures: at_least(figures.rate, 400_000, "images/s"))
    title = f"Reading back: {bench.subject}, one process; the best of three passes after the first"
    return section(title, rows, results, remarks=[remark])


def _remark(result: Result, *asked: Callable[[Figures], str]) -> str:
    """Whether the figures are those that were asked for."""
    return "; ".join(each(result) for each in asked if isinstance(result, Figures))


SECTIONS: dict[str, Callable[[Bench], str]] = {
    each.__name__: each for each in (write, folder, memory, read)
}


# --- the command ----------------------------------------------------------------------------------


def main() -> None:
    options = _options(sys.argv[1:])
    images = options.images or (IMAGES // 10 if options.quick else IMAGES)
    data_dir = str(
        dataset_names.expanded(options.data_dir or dataset_names.default_data_dir()).resolve()
    )
    parts = []

    def show(part: str) -> None:
        parts.append(part)
        print(f"{part}\n", flush=True)

    lines = machine.described()
    if images != IMAGES:
        lines.append(["sizes", f"{images:,} images for {IMAGES:,}: nothing here counts"])
    show(table(["machine", ""], lines))
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        # What a process leaves of its own temporary files goes with ours.
        os.environ["TMPDIR"] = directory
        bench = Bench(Path(directory), images, options.repeats, data_dir)
        for name in options.only:
            show(SECTIONS[name](bench))
    print("# Everything again, in one piece", *parts, sep="\n\n")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = command_line.Parser(prog="python -m benchmarks.prepare", description=__doc__)
    parser.add_argument(
        "--data_dir", default="", help="where TFDS keeps its datasets [TFDS_DATA_DIR]"
    )
    parser.add_argument(
        "--only",
        type=_sections,
        default=list(SECTIONS),
        metavar="NAME,...",
        help=f"sections to measure [{','.join(SECTIONS)}]",
    )
    parser.add_argument(
        "--repeats", type=_count, default=3, help="runs of each row for its speed [3]"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    parser.add_argument("--images", type=_count, default=0, help=f"how many [{IMAGES:,}]")
    return parser.parse(arguments)


def _sections(names: str) -> list[str]:
    for name in names.split(","):
        if name not in SECTIONS:
            raise ConfigError(f"unknown section {name!r}; {nearest(name, SECTIONS)}")
    return names.split(",")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--repeats and --images are at least 1. Received: {text!r}")
    return int(text)


if __name__ == "__main__":
    command_line.run(main)

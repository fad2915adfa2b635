"""Measures the prepare stage and its peers in one call: `python -m benchmarks.prepare`.

Each run is a separate process. Peers are spared what their users do not pay for: their images are
already in memory or listed, and imports count only in the wall time. Figures of one call can be
compared; figures of different machines or hours only as ratios.
"""

import argparse
import sys
from collections.abc import Callable, Iterator

from benchmarks import command, machine
from benchmarks.inputs import BenchmarkInputs
from benchmarks.libraries import PACKAGES, libraries
from benchmarks.medians import Medians, MediansOrReason, measure, section
from benchmarks.rows import BenchmarkRow
from benchmarks.tables import at_least, at_most
from benchmarks.tasks.input_files import FASHION
from components.base import command_line
from components.sources import dataset_names
from pipeline.beam.worker_pool import num_cores

IMAGES = 70_000
_LARGE_IMAGES = 10**6

# --- sections -------------------------------------------------------------------------------------


def write(inputs: BenchmarkInputs) -> str:
    """Writing TFRecords."""
    peer = {"idx": inputs.idx, "output": inputs.output}
    rows = [
        inputs.prepare_row(
            "ours, TFDS's PNG records",
            *("--dataset", FASHION, "--data_dir", inputs.data_dir),
            missing=inputs.missing,
        ),
        inputs.prepare_row("ours, IDX files", "--dataset", inputs.idx),
        BenchmarkRow("TFDS's own writer, from memory", "tfds_writer", peer),
        BenchmarkRow("Beam, one element per image, from memory", "beam_writer", peer),
    ]
    results = measure(rows, repeats=inputs.repeats)
    remark = _remark(
        results[0],
        lambda medians: at_least(medians.rate, 60_000, "images/s"),
        lambda medians: at_most(medians.wall, 6, "s wall"),
    )
    return section(f"Writing TFRecords: {inputs.subject}", rows, results, remarks=[remark])


def folder(inputs: BenchmarkInputs) -> str:
    """Reading a folder of PNG files."""
    cores = num_cores()
    pngs = {"directory": inputs.pngs}
    rows = [
        inputs.prepare_row("ours, to TFRecords", "--dataset", inputs.pngs),
        BenchmarkRow("Pillow in a loop, decoding alone", "pillow_loop", pngs),
        BenchmarkRow("tf.data, decoding alone", "tf_data_folder", pngs),
    ]
    results = measure(rows, repeats=inputs.repeats)
    remark = _remark(
        results[0], lambda medians: at_least(medians.rate / cores, 8_000, "images/s per core")
    )
    title = f"A folder of PNG files: {inputs.subject}; ratios per core"
    return section(title, rows, results, remarks=[remark], cores=[cores, 1, cores])


def memory(inputs: BenchmarkInputs) -> str:
    """Peak memory for a small and a large dataset."""
    large = inputs.images * _LARGE_IMAGES // IMAGES * 6 // 7
    rows = [
        inputs.prepare_row(
            f"ours, {size:,} training images",
            *("--dataset", dataset_names.SYNTHETIC_GARMENTS, "--synthetic_size", str(size)),
        )
        for size in (inputs.train, large)
    ]
    first, second = results = measure(rows, repeats=inputs.repeats, for_memory=True)
    ratios = []
    if isinstance(first, Medians) and isinstance(second, Medians):
        largest, total = second.largest / first.largest, second.total / first.total
        remark = at_most(max(largest, total), 1.3, "times the memory")
        ratios = [["second / first", *[""] * 4, f"{largest:.2f}", f"{total:.2f}", "", remark]]
    title = "Memory by dataset size: drawn garments; sampling memory slows these runs down"
    return section(title, rows, results, extra_lines=ratios)


def read(inputs: BenchmarkInputs) -> str:
    """Reading examples back."""
    shards = {"directory": inputs.shards}
    tfds = {"data_dir": inputs.data_dir, "images": inputs.train}
    rows = [
        BenchmarkRow("ours, our shards", "read_ours", shards, is_ours=True),
        BenchmarkRow("tf.data, our shards, one example at a time", "read_tf_data", shards),
        BenchmarkRow(
            "tf.data, our shards, parse_example in batches", "read_tf_data_batches", shards
        ),
        BenchmarkRow("TFDS, its PNG records", "read_tfds", tfds, missing=inputs.missing),
    ]
    results = measure(rows, repeats=inputs.repeats)
    remark = _remark(results[0], lambda medians: at_least(medians.rate, 400_000, "images/s"))
    title = f"Reading back: {inputs.subject}, one process; fastest of three passes after the first"
    return section(title, rows, results, remarks=[remark])


def _remark(result: MediansOrReason, *targets: Callable[[Medians], str]) -> str:
    """Whether a row's medians reach their targets."""
    return "; ".join(target(result) for target in targets if isinstance(result, Medians))


SECTIONS: dict[str, Callable[[BenchmarkInputs], str]] = {
    measure_section.__name__: measure_section
    for measure_section in (write, folder, memory, read, libraries)
}


# --- the command ----------------------------------------------------------------------------------


def main() -> None:
    """Measures the sections that the command line names, and prints the report."""
    parser = command.parser("python -m benchmarks.prepare", __doc__, SECTIONS)
    parser.add_argument("--quick", action="store_true", help="a tenth of the images")
    parser.add_argument(
        "--images",
        type=command.positive("--images"),
        default=0,
        help=f"number of images [{IMAGES:,}]",
    )
    command.print_report(_measure(parser.parse(sys.argv[1:])))


def _measure(options: argparse.Namespace) -> Iterator[str]:
    images = options.images or (IMAGES // 10 if options.quick else IMAGES)
    yield command.machine_table((*machine.PACKAGES, *PACKAGES), images=images, full=IMAGES)
    with command.temporary_directory() as directory:
        inputs = BenchmarkInputs(directory, images, options.repeats, command.data_dir(options))
        for name in options.only:
            yield SECTIONS[name](inputs)


if __name__ == "__main__":
    command_line.run(main)

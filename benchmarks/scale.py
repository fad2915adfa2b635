"""Measures what prepare's driver does for very many images: `python -m benchmarks.scale`.

It simulates a dataset of 28x28 images. The numbers of slices, sorted runs, reports and shards are
those of the full dataset, but each slice holds only a few images of eight pixels. This leaves out
the work of the workers and measures the driver, the one process that more workers do not speed up:
its CPU time, its memory, and its calls to the file system. The last line of the table extrapolates
the growth between the last two sizes to a billion images.

The second table measures the comparison of all images: the search for duplicates, and the number of
examples of each shard. There, slices have all of their images, of eight pixels each.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence

from benchmarks import command, machine
from benchmarks.rows import run_task
from benchmarks.tables import table
from benchmarks.tasks.reports import Report
from components.base import command_line, console
from components.base.arithmetic import ceil_div

SIZES = (10**6, 10**7, 10**8)
PLANNED_SIZES = (2 * 10**6, 8 * 10**6)
EXTENDED = 10**9
PHASES = ("reading", "merging", "planning", "writing", "publishing")
_PER_SLICE = 8192  # inputs in a slice of TFRecord files
_SIMULATED_PER_SLICE = 32  # affects only the plan
_IMAGE_BYTES = 28 * 28
_SHARD_BYTES = 128 << 20
_TABLES = {"--images": "first", "--planned": "second"}
_HEAD = ("images", "slices", "shards", *(f"{phase}, s" for phase in PHASES), "calls", "memory, MB")


def slices_of(images: int) -> int:
    """The number of slices of a dataset of some images."""
    return ceil_div(images, _PER_SLICE)


def shards_of(images: int) -> int:
    """The number of shards of a dataset of some images."""
    return ceil_div(images * _IMAGE_BYTES, _SHARD_BYTES)


def line(images: int, report: Report) -> list[str]:
    """A line of the table, from the report of `prepare_tiny_images`."""
    seconds = [report["cpu_seconds"].get(phase, 0.0) for phase in PHASES]
    return [
        f"{images:,}",
        f"{slices_of(images):,}",
        f"{report['shards']:,}",
        *(f"{each:.2f}" for each in seconds),
        f"{sum(report['calls'].values()):,}",
        f"{report['bytes'] / 1e6:,.0f}",
    ]


def extended(sizes: Sequence[int], reports: Sequence[Report], images: int) -> Report:
    """Extrapolates the last two reports to a larger dataset.

    Each figure grows linearly or as a power of the number of images, whichever gives more.

    Args:
      sizes: numbers of images, ascending.
      reports: their reports.
      images: the larger number of images.
    """
    (smaller, larger), (before, last) = sizes[-2:], reports[-2:]

    def grown(one: float, other: float) -> float:
        slope = max(0.0, other - one) / (larger - smaller)
        power = math.log(max(1.0, other / one)) / math.log(larger / smaller) if one > 0 else 1.0
        return max(other + slope * (images - larger), other * (images / larger) ** power)

    return {
        "shards": shards_of(images),
        "cpu_seconds": {
            phase: grown(before["cpu_seconds"].get(phase, 0.0), seconds)
            for phase, seconds in last["cpu_seconds"].items()
        },
        "calls": {
            phase: round(grown(before["calls"].get(phase, 0), calls))
            for phase, calls in last["calls"].items()
        },
        "bytes": grown(before["bytes"], last["bytes"]),
    }


def main() -> None:
    """Measures the sizes that the command line names, and prints the report."""
    parser = command_line.Parser(prog="python -m benchmarks.scale", description=__doc__)
    for option, sizes in (("--images", SIZES), ("--planned", PLANNED_SIZES)):
        parser.add_argument(
            option,
            type=command.positive(option),
            nargs="+",
            default=list(sizes),
            help=f"numbers of images of the {_TABLES[option]} table, ascending [%(default)s]",
        )
    command.print_report(_measure(parser.parse(sys.argv[1:])))


def _measure(options: argparse.Namespace) -> Iterator[str]:
    yield table(["machine", ""], machine.description(machine.PACKAGES))
    reports = [_report(images, _SIMULATED_PER_SLICE) for images in options.images]
    lines = [line(*each) for each in zip(options.images, reports, strict=True)]
    if len(reports) > 1:
        lines.append(line(EXTENDED, extended(options.images, reports, EXTENDED)))
        lines[-1][0] += ", extended"
    yield f"**The driver of prepare, CPU seconds by phase**\n\n{table(_HEAD, lines)}"
    planned = [
        [f"{images:,}", f"{_report(images, _PER_SLICE)['cpu_seconds']['planning']:.1f}"]
        for images in options.planned
    ]
    yield f"**The comparison of all images**\n\n{table(('images', 'CPU seconds'), planned)}"


def _report(images: int, per_slice: int) -> Report:
    """Prepares a simulated dataset in a process of its own."""
    console.say(f"bench: {images:,} images, {per_slice:,} in a slice")
    with command.temporary_directory() as directory:
        arguments = {
            "slices": slices_of(images),
            "per_slice": per_slice,
            "full_slice": _PER_SLICE,
            "shards": shards_of(images),
            "output": str(directory / "examples"),
        }
        return run_task("prepare_tiny_images", arguments, sample_memory=False).report


if __name__ == "__main__":
    command_line.run(main)

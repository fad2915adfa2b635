"""The command `compare`: several runs on one page."""

import argparse
from typing import Any

from components.base import command_line
from pipeline.commands import options
from pipeline.commands.command import Command

_DESCRIPTION = """Compare runs with each other.

A run is a directory with model/ and evaluation/. Writes comparison.html, which shows everything on
one page, comparison.json, and comparison.txt, the table that is printed: scores with the
differences from the first run and their 95 % intervals, and the settings that differ. If the runs
scored the same images, each image is compared with itself, which makes the differences precise.

  python -m pipeline compare runs/demo runs/demo32 --output runs/comparison
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        type=command_line.path,
        metavar="RUN",
        help="directory of a run, made by `python -m pipeline run`; two or more",
    )
    options.add_directory(parser, "--output", "directory to write the comparison to")


def _execute(values: dict[str, Any]) -> None:
    from pipeline.compare.stage import compare

    compare(values.pop("runs"), **values)


COMMAND = Command("compare", _DESCRIPTION, _add_options, _execute)

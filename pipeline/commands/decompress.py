"""The command `decompress`: the images of a compressed file."""

import argparse
from typing import Any

from pipeline.commands import options
from pipeline.commands.command import Command

_DESCRIPTION = """Restore the images from a file that compress wrote.

Writes a folder as PNG files of the same names and sub-folders, and shards as a prepared dataset
with the same ids, labels and order. It needs the same model, and a machine that computes the same
numbers with it: on another one it ends with an error, never with different images.

  python -m pipeline decompress --model runs/demo/model --input images.vaez --output images
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser, "directory of the model that compressed the images")
    options.add_path(parser, "--input", "FILE", "file that compress wrote")
    options.add_directory(parser, "--output", "directory to write the images to")
    parser.add_argument(
        "--salvage",
        action="store_true",
        help="if the file is damaged, write the images of the intact blocks",
    )


def _execute(values: dict[str, Any]) -> None:
    from pipeline.compress.decompress import decompress

    decompress(source=values.pop("input"), **values)


COMMAND = Command("decompress", _DESCRIPTION, _add_options, _execute)

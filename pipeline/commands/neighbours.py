"""The command `neighbours`: searches in tables of embeddings."""

import argparse
from typing import Any

from components.base.config import add_options
from pipeline.commands import options
from pipeline.commands.command import Command
from pipeline.neighbours.config import NeighboursConfig

_DESCRIPTION = """Search tables of embeddings for neighbors, outliers or near duplicates.

Reads the Parquet files that embed or evaluate wrote. Shows the rows that are nearest to a row or to
an image file (--query), the most unlikely images (--outliers), or groups of images that are hard to
tell apart from their latents (--duplicates). With --output, writes what it shows, all rows that it
found as JSON Lines and, if the tables have the column image, a contact sheet.

  python -m pipeline neighbours --embeddings runs/demo/embeddings --query test-00000768
  python -m pipeline neighbours --embeddings runs/demo/embeddings --query photo.png --output out
  python -m pipeline neighbours --embeddings runs/demo/embeddings --outliers --count 20
  python -m pipeline neighbours --embeddings runs/demo/embeddings --duplicates --output out
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    options.add_directory(
        parser,
        "--embeddings",
        "directory of tables, made by `python -m pipeline embed` or `evaluate`",
    )
    search = parser.add_mutually_exclusive_group(required=True)
    search.add_argument(
        "--query",
        metavar="ID|IMAGE",
        help="id of a row, or path of an image file, whose neighbors to find",
    )
    search.add_argument(
        "--outliers", action="store_true", help="list the rows with the highest outlier scores"
    )
    search.add_argument("--duplicates", action="store_true", help="list groups of near duplicates")
    options.add_path(
        parser,
        "--model",
        "DIR",
        "directory of the model that made the tables, for an image file [the one in the "
        "manifest of the tables]",
        required=False,
    )
    options.add_path(
        parser,
        "--output",
        "DIR",
        "directory to write the rows and the contact sheet to [show the table only]",
        required=False,
    )
    add_options(parser, NeighboursConfig)


def _execute(values: dict[str, Any]) -> None:
    config = options.settings(NeighboursConfig, values)

    from pipeline.neighbours import stage

    outliers, duplicates = values.pop("outliers"), values.pop("duplicates")
    search = stage.OUTLIERS if outliers else stage.DUPLICATES if duplicates else stage.NEAREST
    stage.neighbours(config, search=search, query_name=values.pop("query"), **values)


COMMAND = Command("neighbours", _DESCRIPTION, _add_options, _execute)

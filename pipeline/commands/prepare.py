"""The command `prepare`: a dataset to TFRecord files."""

import argparse
from typing import Any

from components.base.config import add_options
from pipeline.commands import options
from pipeline.commands.command import Command
from pipeline.prepare.config import PrepareConfig

_DESCRIPTION = """Convert a dataset to checked, sharded TFRecord files.

Writes the shards, which TFDS can read too; statistics and a contact sheet for each split; a list of
the images that occur more than once; and the quarantine, which lists the inputs that cannot be
used, with the reasons.

  python -m pipeline prepare --dataset fashion_mnist --output runs/demo/examples
  python -m pipeline prepare --dataset path/to/images --image_size 64 --output runs/mine/examples
  python -m pipeline prepare --dataset path/to/images --image_size 64 --output runs/mine/examples \\
    --retry_quarantined
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    options.add_directory(parser, "--output", "directory to write the prepared dataset to")
    parser.add_argument(
        "--retry_quarantined",
        action="store_true",
        help="read only the inputs in the quarantine of --output; use it after fixing inputs",
    )
    add_options(parser, PrepareConfig)


def _execute(values: dict[str, Any]) -> None:
    config = options.prepare_config(values)
    options.check_beam_options(values["beam_args"])

    from pipeline.prepare.stage import prepare

    prepare(config, **values)


COMMAND = Command("prepare", _DESCRIPTION, _add_options, _execute, takes_beam_options=True)

"""The command `compress`: images to one file."""

import argparse
from typing import Any

from components.base.config import add_options
from pipeline.commands import options
from pipeline.commands.command import Command
from pipeline.compress.config import CompressConfig

_DESCRIPTION = """Compress images to one file, without loss.

Reads a folder of images (PNG, JPEG, WebP, BMP), all of the size and the channels of the model's, or
a prepared dataset or some of its shards. The model must have a likelihood of 256 levels, as the
preset lossless has. The file is about as large as the negative ELBO of the images. A command that
was interrupted continues with the blocks that are missing.

  python -m pipeline compress --model runs/demo/model --input path/to/images --output images.vaez
  python -m pipeline compress --model runs/demo/model --input 'runs/demo/examples/*test*' \\
    --output test.vaez
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_path(
        parser,
        "--input",
        "INPUT",
        "folder of images; directory of a prepared dataset; or a path of some of its TFRecord "
        "files, in quotes, with the wildcards * and ?",
    )
    options.add_path(parser, "--output", "FILE", "file to write, such as images.vaez")
    add_options(parser, CompressConfig)
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="print the expected size of the file, from the ELBO, and write nothing",
    )
    parser.add_argument(
        "--no_verify",
        action="store_true",
        help="write blocks without decoding and comparing them first, which takes half the time",
    )


def _execute(values: dict[str, Any]) -> None:
    config = options.settings(CompressConfig, values)

    from pipeline.compress.compress import compress

    compress(
        config,
        pattern=values.pop("input"),
        only_estimate=values.pop("estimate"),
        check_blocks=not values.pop("no_verify"),
        **values,
    )


COMMAND = Command("compress", _DESCRIPTION, _add_options, _execute)

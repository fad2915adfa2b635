"""The command `denoise`: noisy images to image files without noise."""

import argparse
from typing import Any

from components.base.config import add_options
from pipeline.commands import options
from pipeline.commands.command import Command
from pipeline.denoise.config import DenoiseConfig

_DESCRIPTION = """Denoise images.

Reads what embed reads, but scales no image: those that do not have the size and the channels of the
model are listed in quarantine/. Writes images/, a PNG file for each image with its name, size and
channels: the mean of --samples images, each decoded from a draw of the posterior. With --sample N,
also N of these draws of each image, in samples/; with --uncertainty, also their standard deviation
at each pixel, in uncertainty/, in which white is a standard deviation of half the range. Train the
model with --preset denoise. A command that was interrupted continues with the shards that are
missing.

  python -m trainer --examples runs/demo/examples --output runs/demo/denoiser --preset denoise
  python -m pipeline denoise --model runs/demo/denoiser --input path/to/noisy --output out
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_input(parser)
    options.add_directory(parser, "--output", "directory to write the images to")
    add_options(parser, DenoiseConfig)
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="also write an image of the uncertainty of each image",
    )
    options.add_source_options(parser)


def _execute(values: dict[str, Any]) -> None:
    config = options.settings(DenoiseConfig, values)
    arguments = options.apply_arguments(values)

    from pipeline.denoise.stage import denoise

    denoise(config, **arguments)


COMMAND = Command("denoise", _DESCRIPTION, _add_options, _execute, takes_beam_options=True)

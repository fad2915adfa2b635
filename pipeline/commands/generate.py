"""The command `generate`: new images of a model."""

import argparse
from typing import Any

from components.base.config import add_options
from pipeline.commands import options
from pipeline.commands.command import Command
from pipeline.generate.config import GenerateConfig

_DESCRIPTION = """Write new images of a model.

Writes PNG files, a Parquet file of their latents, and figures: samples or, if asked for, variations
of an image (--near), images between two others (--interpolate, with an animation), or what
each latent does, the most informative one first (--traverse, with an animation). An image is a file
or the id of an example of the dataset that the model was trained on. The same seed gives the same
files on the same device. A command that was interrupted continues.

  python -m pipeline generate --model runs/demo/model --count 64 --output runs/demo/samples
  python -m pipeline generate --model runs/demo/model --near photo.png --output runs/demo/near
  python -m pipeline generate --model runs/demo/model --interpolate test-00000768 photo.png \\
    --steps 16 --output runs/demo/between
  python -m pipeline generate --model runs/demo/model --traverse --output runs/demo/latents
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_directory(parser, "--output", "directory to write the images to")
    parser.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="class of all images, by its name or the number of its label, for a model that is "
        "conditioned on classes [samples: all classes in turn; variations: that of the image]",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--near", metavar="ID|IMAGE", help="write variations of an image instead of samples"
    )
    instead.add_argument(
        "--interpolate",
        nargs=2,
        metavar="ID|IMAGE",
        help="write images between two images, in steps from one to the other",
    )
    instead.add_argument(
        "--traverse", action="store_true", help="write a row of images for each active latent"
    )
    add_options(parser, GenerateConfig)


def _execute(values: dict[str, Any]) -> None:
    config = options.settings(GenerateConfig, values)

    from pipeline.generate.stage import generate

    generate(config, **values)


COMMAND = Command("generate", _DESCRIPTION, _add_options, _execute)

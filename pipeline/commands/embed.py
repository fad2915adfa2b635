"""The command `embed`: images to tables of embeddings."""

import argparse
from typing import Any

from components.base.config import add_options
from pipeline.commands import options
from pipeline.commands.command import Command
from pipeline.embed.config import EmbedConfig

_DESCRIPTION = """Write tables of the embeddings of images.

Reads a prepared dataset, some of its shards, or whatever prepare reads: a folder of images, IDX,
.npz, .npy or TFRecord files, or the name of a dataset. Images that prepare did not write are
converted to the size and the channels that the model needs; those that cannot be read are listed in
quarantine/ with the reason. Writes one table for each shard, of the columns id, split, label,
label_name, mean (the embedding), log_variance, rate, distortion (both in nats) and outlier_score
(how unlike the training set: about 0 for a typical image of it, 5 or more for an unlikely one).
--columns chooses others, also x and y, coordinates in a plane, and image, a PNG file. A command
that was interrupted continues with the shards that are missing.

  python -m pipeline embed --model runs/demo/model --input runs/demo/examples --output out
  python -m pipeline embed --model runs/demo/model --input path/to/images --output out
  python -m pipeline embed --model runs/demo/model --input 'runs/demo/examples/*test*' \\
    --columns id,mean --format npy --output runs/demo/test_embeddings
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_input(parser)
    options.add_directory(parser, "--output", "directory to write the tables to")
    add_options(parser, EmbedConfig)
    options.add_source_options(parser)


def _execute(values: dict[str, Any]) -> None:
    config = options.settings(EmbedConfig, values)
    arguments = options.apply_arguments(values)

    from pipeline.embed.stage import embed

    embed(config, **arguments)


COMMAND = Command("embed", _DESCRIPTION, _add_options, _execute, takes_beam_options=True)

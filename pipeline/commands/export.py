"""The command `export`: a model for other programs."""

import argparse
from typing import Any

from components.base.config import add_options
from pipeline.commands import options
from pipeline.commands.command import Command
from pipeline.export.config import ExportConfig

_DESCRIPTION = """Write a model in formats that other programs run without this project.

Writes saved_model/1, a SavedModel for TensorFlow Serving with the signatures encode, encode_bytes,
decode, reconstruct, sample and score on raw pixels; and encoder and decoder as .keras files and, if
asked for with --formats, for ONNX Runtime and LiteRT. Each file is compared with the model before
anything is published. Shows sizes and latencies.

  python -m pipeline export --model runs/demo/model --output runs/demo/export
  python -m pipeline export --model runs/demo/model --output runs/demo/portable \\
    --formats keras,onnx,litert
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_directory(parser, "--output", "directory to write the exported files to")
    add_options(parser, ExportConfig)


def _execute(values: dict[str, Any]) -> None:
    config = options.settings(ExportConfig, values)

    from pipeline.export.stage import export

    export(config, **values)


COMMAND = Command("export", _DESCRIPTION, _add_options, _execute)

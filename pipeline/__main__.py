"""Prepare images, train a variational autoencoder (VAE) on them, and evaluate it.

Each stage reads directories, and writes a directory with a manifest:

  prepare     reads a dataset; writes a prepared dataset: checked, sharded TFRecord files
  train       reads a prepared dataset; writes a model (`python -m trainer`)
  evaluate    reads a prepared dataset and a model; writes scores, embeddings, figures, a report
  embed       reads a model and images; writes tables of embeddings
  neighbours  reads tables of embeddings; shows neighbors of an image, outliers or duplicates
  generate    reads a model; writes new images: samples, variations, interpolations
  denoise     reads a model and noisy images; writes denoised images
  compress    reads a model and images; writes one file without loss; decompress reads it
  export      reads a model; writes a SavedModel, and files of Keras, ONNX and LiteRT
  compare     reads runs; writes a page with their scores, curves and samples side by side
  run         runs prepare, train and evaluate, in examples/, model/, evaluation/ of one directory

A stage that is up to date is skipped. A directory that holds something else is not touched without
--overwrite. An output directory appears when it is complete; if a command is interrupted, run the
same command again.

  python -m pipeline run --run runs/demo --dataset fashion_mnist --preset mlp
  python -m pipeline prepare --dataset path/to/images --image_size 64 --output runs/mine/examples
  python -m pipeline embed --model runs/demo/model --input 'runs/demo/examples/*test*' --output out
  python -m pipeline export --model runs/demo/model --output runs/demo/export

Options after `--` are passed to Beam: `... -- --runner=FlinkRunner --flink_master=HOST:PORT`.
`python -m pipeline COMMAND --help` shows the options of a command.
"""

from components.base import stop_signals

if __name__ == "__main__":
    # Before the other imports, which take a tenth of a second.
    stop_signals.end_at_once()

import sys

from components.base import command_line, console
from components.base.errors import ConfigError, nearest
from pipeline.commands import (
    compare,
    compress,
    decompress,
    denoise,
    embed,
    evaluate,
    export,
    generate,
    neighbours,
    prepare,
    run,
)
from pipeline.commands.command import Command
from pipeline.version import DISTRIBUTION, installed_version

# In the order of `--help`.
_MODULES = (
    run,
    prepare,
    evaluate,
    embed,
    neighbours,
    generate,
    denoise,
    export,
    compare,
    compress,
    decompress,
)
COMMANDS = {module.COMMAND.name: module.COMMAND for module in _MODULES}


def main() -> None:
    """Runs the command given by the process's arguments."""
    arguments, beam_args = _split_arguments(sys.argv[1:])
    if arguments == ["--version"]:
        console.show(f"{DISTRIBUTION} {installed_version()}")
        return
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        raise _unknown(arguments[0])
    values = vars(_parser().parse(arguments))
    command: Command = values.pop("command")
    del values["parser"], values["version"]
    if command.takes_beam_options:
        values["beam_args"] = beam_args
    elif beam_args:
        raise ConfigError(f"the {command.name} stage takes no Beam options; the embed stage does")
    command.execute(values)


def _unknown(name: str) -> ConfigError:
    """The error for an unknown command; the nearest known one may be that of the trainer."""
    hint = nearest(name, [*COMMANDS, "train"])
    return ConfigError(
        f"unknown stage {name!r}; {hint.replace('train', 'train (`python -m trainer`)')}"
    )


def _split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments before `--`, and those after it, which are Beam's."""
    if "--" not in arguments:
        return arguments, []
    index = arguments.index("--")
    return arguments[:index], arguments[index + 1 :]


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m pipeline", description=__doc__)
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    commands = parser.add_subparsers(
        metavar="COMMAND", required=True, parser_class=command_line.Parser
    )
    for command in COMMANDS.values():
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    command_line.run(main)

"""Train a VAE on a directory of examples, on all GPUs there are or on the CPU.

The preset gives every setting; a YAML file (--config) and single options override it. The run
writes checkpoints and goes on from them: give the same command again.

  python -m trainer --examples runs/demo/examples --output runs/demo/model --preset mlp
  python -m trainer --examples runs/demo/examples --output runs/demo/wide --widths 512,256
  python -m trainer --examples runs/demo/examples --preset conv --dry_run

`python -m trainer verify --help`: does the number of replicas change the result?
"""

import argparse
import sys
from typing import Any

from components.base import command_line
from components.base.config import add_options, from_mapping, take
from trainer.config import (
    RunOptions,
    TrainConfig,
    VerifyOptions,
    load_config,
    preset_names,
)

_VERIFY = """Train a preset for some steps on several numbers of replicas and compare the results.

Each number of replicas trains in a process of its own, on that many GPUs or logical CPU devices, on
the same examples in the same order; the epochs' last batches are uneven and leave replicas empty.
Prints the largest relative differences of losses and weights, and fails above --tolerance. Judged
are single steps, each taken from the same state, and the losses of a first epoch.
The precision `auto` means float32 here.

  python -m trainer verify --replicas 1,2,4 --preset conv
"""


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["verify"]:
        _verify(arguments[1:])
    else:
        _train(arguments)


def _train(arguments: list[str]) -> None:
    parser = command_line.Parser(prog="python -m trainer", description=__doc__)
    parser.add_argument("--examples", required=True, metavar="DIR", help="what prepare published")
    parser.add_argument("--output", metavar="DIR", help="where the model will stand")
    _add_preset(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace other or damaged work in --output"
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="say what the run would take, and train nothing"
    )
    add_options(parser, TrainConfig, show_defaults=False)
    add_options(parser, RunOptions)
    given = vars(parser.parse(arguments))
    examples, output, overwrite, dry_run = (
        given.pop(name) for name in ("examples", "output", "overwrite", "dry_run")
    )
    options = from_mapping(RunOptions, take(given, RunOptions), where="the command line")
    preset, config = _config(given)

    from trainer import stage

    if dry_run:
        print(stage.dry_run(config, options, examples=examples))
    elif output is None:
        parser.error("the following arguments are required: --output, or --dry_run in its place")
    else:
        stage.run(
            preset, config, examples=examples, output=output, options=options, overwrite=overwrite
        )


def _verify(arguments: list[str]) -> None:
    parser = command_line.Parser(prog="python -m trainer verify", description=_VERIFY)
    add_options(parser, VerifyOptions)
    _add_preset(parser)
    add_options(parser, TrainConfig, show_defaults=False, without=("replicas",))
    given = vars(parser.parse(arguments))
    options = from_mapping(VerifyOptions, take(given, VerifyOptions), where="the command line")
    _, config = _config(given)

    from trainer import verify

    print(verify.verify(config, options))


def _add_preset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset", default="mlp", help=f"named configuration: {', '.join(preset_names())} [mlp]"
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file of fields, over the preset's")


def _config(given: dict[str, Any]) -> tuple[str, TrainConfig]:
    preset, file = given.pop("preset"), given.pop("config")
    return preset, load_config(preset, file=file, overrides=given)


if __name__ == "__main__":
    command_line.run(main)

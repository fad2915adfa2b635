"""Train a VAE on a prepared dataset, on all available GPUs or on the CPU.

A preset sets the network, latents, widths, epochs, batch size, optimizer and learning rate, with
its schedule and warm-up, and some presets set more. What a preset leaves out has a default; the
defaults that no preset changes are shown in brackets. A YAML file (--config) overrides the preset,
and options override both. The run saves checkpoints; if it is interrupted, run the same command
again to continue.

  python -m trainer --examples runs/demo/examples --output runs/demo/model --preset mlp
  python -m trainer --examples runs/demo/examples --output runs/demo/wide --widths 512,256
  python -m trainer --examples runs/demo/examples --preset conv --dry_run

`python -m trainer verify` checks that the number of replicas does not change the result; see
`python -m trainer verify --help`.
"""

from components.base import stop_signals

if __name__ == "__main__":
    # Before the other imports, which take a tenth of a second.
    stop_signals.end_at_once()

import argparse
import sys
from typing import Any

from components.base import command_line, console
from components.base.config import add_options, from_mapping, pop_fields
from trainer.config import (
    RunOptions,
    TrainConfig,
    VerifyOptions,
    load_config,
    preset_fields,
    preset_names,
)

_VERIFY_DESCRIPTION = """Check that the number of replicas does not change the result of training.

Each number of replicas trains in its own process, on that many GPUs or logical CPU devices, with
the same examples in the same order. The last batch of an epoch is smaller than the others, and
leaves replicas without examples.

The command prints the largest relative differences between losses and weights. It fails if they
exceed --tolerance: after single steps that start from the same state, or in the losses of the first
epoch. Precision `auto` means float32 here.

  python -m trainer verify --replicas 1,2,4 --preset conv
"""


def main() -> None:
    """Runs the command given by the process's arguments."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["verify"]:
        _verify(arguments[1:])
    else:
        _train(arguments)


def _train(arguments: list[str]) -> None:
    parser = command_line.Parser(prog="python -m trainer", description=__doc__)
    parser.add_argument(
        "--examples",
        required=True,
        type=command_line.path,
        metavar="DIR",
        help="directory of a prepared dataset, made by `python -m pipeline prepare`",
    )
    parser.add_argument(
        "--output", type=command_line.path, metavar="DIR", help="directory to write the model to"
    )
    _add_preset(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a different or damaged artifact in --output",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="if --output is up to date, read all its files and compare their content with the "
        "digests in the manifest",
    )
    parser.add_argument(
        "--extend",
        action="store_true",
        help="continue the finished model in --output, from its last checkpoint, to a larger "
        "--epochs; everything else must be the same. The remaining steps follow the schedules of "
        "the new number of epochs. The result is therefore that of a run of all epochs only with "
        "constant schedules and without warm-up",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="print what the run would need (devices, memory, steps), without training",
    )
    add_options(parser, TrainConfig, hide_defaults=preset_fields())
    add_options(parser, RunOptions)
    values = vars(parser.parse(arguments))
    names = ("examples", "output", "overwrite", "verify", "extend", "dry_run")
    examples, output, overwrite, verify_output, extend, dry_run = map(values.pop, names)
    options = from_mapping(RunOptions, pop_fields(values, RunOptions), where="the command line")
    preset, config = _load_config(values)

    from trainer import stage

    if dry_run:
        console.show(stage.dry_run(config, options, examples=examples))
    elif output is None:
        parser.error("--output is required (or use --dry_run)")
    else:
        stage.run(
            preset,
            config,
            examples=examples,
            output=output,
            options=options,
            overwrite=overwrite,
            verify=verify_output,
            extend=extend,
        )


def _verify(arguments: list[str]) -> None:
    parser = command_line.Parser(prog="python -m trainer verify", description=_VERIFY_DESCRIPTION)
    add_options(parser, VerifyOptions)
    _add_preset(parser)
    add_options(parser, TrainConfig, hide_defaults=preset_fields(), without=("replicas",))
    values = vars(parser.parse(arguments))
    options = from_mapping(
        VerifyOptions, pop_fields(values, VerifyOptions), where="the command line"
    )
    _, config = _load_config(values)

    from trainer import verify

    console.show(verify.verify(config, options))


def _add_preset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset",
        default="mlp",
        help=f"named configuration to start from: {', '.join(preset_names())} [mlp]",
    )
    parser.add_argument(
        "--config",
        type=command_line.path,
        metavar="FILE",
        help="YAML file of `field: value` lines; overrides the preset",
    )


def _load_config(values: dict[str, Any]) -> tuple[str, TrainConfig]:
    """The name of the preset, and the config from it, the file and the remaining options."""
    preset, file = values.pop("preset"), values.pop("config")
    return preset, load_config(preset, file=file, overrides=values)


if __name__ == "__main__":
    command_line.run(main)

"""The command `run`: prepare, train and evaluate in one directory."""

import argparse
from typing import Any

from components.base import console
from components.base.config import add_options
from pipeline.commands import options
from pipeline.commands.command import Command
from pipeline.evaluate.config import EvaluateConfig
from pipeline.prepare.config import PrepareConfig
from trainer.config import RunOptions, TrainConfig, load_config, preset_fields, preset_names

_DESCRIPTION = """Prepare a dataset, train a model on it, and evaluate the model.

Writes examples/, model/ and evaluation/ in the directory of the run. A stage that is up to date is
skipped. A preset sets the network, latents, widths, epochs, batch size, optimizer and learning
rate, with its schedule and warm-up, and some presets set more. What a preset leaves out has a
default. A YAML file (--config) overrides the preset, and options override both.

  python -m pipeline run --run runs/demo --dataset fashion_mnist --preset mlp
  python -m pipeline run --run runs/demo32 --preset conv --latents 32 --epochs 20
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    options.add_directory(parser, "--run", "directory of the run")
    parser.add_argument(
        "--preset", default="mlp", help=f"named configuration: {', '.join(preset_names())} [mlp]"
    )
    options.add_path(
        parser,
        "--config",
        "FILE",
        "YAML file of fields that override the preset's",
        required=False,
    )
    add_options(parser, PrepareConfig)
    add_options(parser, TrainConfig, hide_defaults=preset_fields())
    add_options(parser, RunOptions)
    add_options(parser, EvaluateConfig, hide_defaults=("metrics",))
    options.add_requirements(parser)


def _execute(values: dict[str, Any]) -> None:
    names = ("run", "preset", "config", "overwrite", "verify", "beam_args")
    directory, preset, file, overwrite, verify, beam_args = map(values.pop, names)
    prepare_config = options.prepare_config(values)
    evaluate_config = options.settings(EvaluateConfig, values)
    requirements = options.requirements(values, evaluate_config.metrics)
    run_options = options.settings(RunOptions, values)
    train_config = load_config(preset, file=file, overrides=values)
    options.check_beam_options(beam_args)

    from pipeline.run import run

    summary = run(
        directory,
        prepare_config=prepare_config,
        preset=preset,
        train_config=train_config,
        run_options=run_options,
        evaluate_config=evaluate_config,
        overwrite=overwrite,
        verify=verify,
        beam_args=beam_args,
    )
    console.show(f"\n{summary}")
    requirements.check(f"{directory}/evaluation")


COMMAND = Command(
    "run", _DESCRIPTION, _add_options, _execute, takes_beam_options=True, target="--run"
)

"""Images to TFRecords, a trained VAE, its embeddings and figures.

  run       all three stages: prepare, train, evaluate
  prepare   a dataset to checked, sharded TFRecords
  evaluate  held-out metrics, embeddings, figures and a report
  embed     embeddings of any TFRecord shards, as Parquet

  python -m pipeline run --run runs/demo --dataset fashion_mnist --preset mlp
  python -m pipeline embed --model runs/demo/model --input 'runs/demo/examples/*test*' --output out

The train stage alone is `python -m trainer`. A stage that is up to date is skipped. Options after
`--` go to Beam as they are: `... -- --runner=FlinkRunner --flink_master=HOST:PORT`.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from components.base import command_line
from components.base.config import add_options, from_mapping, take
from components.base.errors import ConfigError, nearest
from components.sources import dataset_names
from pipeline.evaluate.config import EvaluateConfig
from pipeline.prepare.config import PrepareConfig
from trainer.config import RunOptions, TrainConfig, load_config, preset_names

STAGES = ("run", "prepare", "evaluate", "embed")
COMMAND_LINE = "the command line"


def main() -> None:
    arguments, beam_args = _cut(sys.argv[1:])
    if arguments and not arguments[0].startswith("-") and arguments[0] not in STAGES:
        raise ConfigError(f"unknown stage {arguments[0]!r}; {nearest(arguments[0], STAGES)}")
    given = vars(_parser().parse(arguments))
    command: Callable[..., None] = given.pop("command")
    del given["parser"]
    command(given, beam_args)


def _cut(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and Beam's after `--`."""
    if "--" not in arguments:
        return arguments, []
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m pipeline", description=__doc__)
    stages = parser.add_subparsers(metavar="STAGE", required=True, parser_class=command_line.Parser)

    def add(command: Callable[..., None], name: str, help: str) -> argparse.ArgumentParser:
        stage = stages.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        stage.set_defaults(command=command, parser=stage)
        return stage

    stage = add(_run, "run", "prepare, train and evaluate, each skipped if up to date")
    stage.add_argument("--run", required=True, metavar="DIR", help="where the run will stand")
    stage.add_argument("--preset", default="mlp", help=f"{', '.join(preset_names())} [mlp]")
    stage.add_argument("--config", metavar="FILE", help="YAML file of fields, over the preset's")
    add_options(stage, PrepareConfig)
    add_options(stage, TrainConfig, show_defaults=False)
    add_options(stage, RunOptions)
    add_options(stage, EvaluateConfig)

    stage = add(_prepare, "prepare", "turn a dataset into checked, sharded TFRecords")
    stage.add_argument("--output", required=True, metavar="DIR", help="where they will stand")
    stage.add_argument(
        "--retry_quarantined",
        action="store_true",
        help="read again only what was set aside when the output directory was made",
    )
    add_options(stage, PrepareConfig)

    stage = add(_evaluate, "evaluate", "measure a model, export embeddings, draw figures")
    stage.add_argument("--examples", required=True, metavar="DIR", help="what prepare published")
    stage.add_argument("--model", required=True, metavar="DIR", help="what the trainer published")
    stage.add_argument("--output", required=True, metavar="DIR", help="where results will stand")
    add_options(stage, EvaluateConfig)

    stage = add(_embed, "embed", "export the embeddings of any TFRecord shards as Parquet")
    stage.add_argument("--model", required=True, metavar="DIR", help="what the trainer published")
    stage.add_argument(
        "--input", required=True, metavar="PATTERN", help="the shards: a path with * and ?"
    )
    stage.add_argument("--output", required=True, metavar="DIR", help="where they will stand")
    for stage in stages.choices.values():
        stage.add_argument(
            "--overwrite",
            action="store_true",
            help="replace other or damaged work in the output directory",
        )
    return parser


def _run(given: dict[str, Any], beam_args: Sequence[str]) -> None:
    directory, preset, file, overwrite = (
        given.pop(name) for name in ("run", "preset", "config", "overwrite")
    )
    prepare_config = _prepare_config(take(given, PrepareConfig))
    evaluate_config = from_mapping(EvaluateConfig, take(given, EvaluateConfig), where=COMMAND_LINE)
    run_options = from_mapping(RunOptions, take(given, RunOptions), where=COMMAND_LINE)
    train_config = load_config(preset, file=file, overrides=given)

    from pipeline.run import run

    summary = run(
        directory,
        prepare_config=prepare_config,
        preset=preset,
        train_config=train_config,
        run_options=run_options,
        evaluate_config=evaluate_config,
        overwrite=overwrite,
        beam_args=beam_args,
    )
    print(f"\n{summary}")


def _prepare(given: dict[str, Any], beam_args: Sequence[str]) -> None:
    options = {name: given.pop(name) for name in ("output", "overwrite", "retry_quarantined")}
    config = _prepare_config(given)

    from pipeline.prepare.stage import prepare

    prepare(config, **options, beam_args=beam_args)


def _evaluate(given: dict[str, Any], beam_args: Sequence[str]) -> None:
    if beam_args:
        raise ConfigError("evaluate takes no Beam options; embed does")
    paths = {name: given.pop(name) for name in ("examples", "model", "output", "overwrite")}
    config = from_mapping(EvaluateConfig, given, where=COMMAND_LINE)

    from pipeline.evaluate.stage import evaluate

    evaluate(config, **paths)


def _embed(given: dict[str, Any], beam_args: Sequence[str]) -> None:
    from pipeline.apply.embed import embed

    embed(pattern=given.pop("input"), **given, beam_args=beam_args)


def _prepare_config(given: dict[str, Any]) -> PrepareConfig:
    config = from_mapping(PrepareConfig, given, where=COMMAND_LINE)
    data_dir = config.data_dir or dataset_names.default_data_dir()
    dataset_names.check(config.dataset, data_dir, config.features)
    return config


if __name__ == "__main__":
    command_line.run(main)

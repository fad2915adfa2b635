"""Prepare images, train a variational autoencoder (VAE) on them, and evaluate it.

Each stage reads directories, and writes a directory with a manifest:

  prepare     reads a dataset; writes a prepared dataset: checked, sharded TFRecord files
  train       reads a prepared dataset; writes a model (`python -m trainer`)
  evaluate    reads a prepared dataset and a model; writes scores, embeddings, figures, a report
  embed       reads a model and images; writes tables of embeddings
  neighbours  reads tables of embeddings; shows neighbors of an image, outliers or duplicates
  export      reads a model; writes a SavedModel, and files of Keras, ONNX and LiteRT
  compare     reads runs; writes a page with their scores, curves and samples beside each other
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

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from components.base import command_line, console
from components.base.config import add_options, from_mapping, pop_fields
from components.base.errors import ConfigError, nearest
from components.sources import dataset_names
from pipeline.apply.config import EmbedConfig
from pipeline.evaluate.config import EvaluateConfig
from pipeline.export.config import ExportConfig
from pipeline.neighbours.config import NeighboursConfig
from pipeline.prepare.config import PrepareConfig
from trainer.config import RunOptions, TrainConfig, load_config, preset_fields, preset_names

if TYPE_CHECKING:
    from pipeline.evaluate.gates import Requirements

STAGES = ("run", "prepare", "evaluate", "embed", "neighbours", "export", "compare")
COMMAND_LINE = "the command line"
# Fields of PrepareConfig that do not say how to read a source: the model decides the size and the
# channels.
_NO_SOURCE_OPTIONS = (
    "dataset",
    "image_size",
    "channels",
    "duplicates",
    "validation_fraction",
)

_RUN = """Prepare a dataset, train a model on it, and evaluate the model.

Writes examples/, model/ and evaluation/ in the directory of the run. A stage that is up to date is
skipped. A preset sets the network, latents, widths, epochs, batch size, optimizer and learning
rate, with its schedule and warm-up, and some presets set more. What a preset leaves out has a
default. A YAML file (--config) overrides the preset, and options override both.

  python -m pipeline run --run runs/demo --dataset fashion_mnist --preset mlp
  python -m pipeline run --run runs/demo32 --preset conv --latents 32 --epochs 20
"""
_PREPARE = """Convert a dataset to checked, sharded TFRecord files.

Writes the shards, which TFDS can read too; statistics and a contact sheet for each split; a list of
the images that occur more than once; and the quarantine, which lists the inputs that cannot be
used, with the reasons.

  python -m pipeline prepare --dataset fashion_mnist --output runs/demo/examples
  python -m pipeline prepare --dataset path/to/images --image_size 64 --output runs/mine/examples
  python -m pipeline prepare --dataset path/to/images --image_size 64 --output runs/mine/examples \\
    --retry_quarantined
"""
_EVALUATE = """Evaluate a model on the test split of a prepared dataset.

Without a test split, the validation split is used, or train. Writes metrics.json (ELBO, rate and
distortion, in nats per example, with 95 % confidence intervals; with --importance_samples the
negative log-likelihood too; bits per dimension for likelihoods over 256 levels), the embeddings of
all splits as Parquet files, figures, and report.html, which shows everything on one page.

  python -m pipeline evaluate --examples runs/demo/examples --model runs/demo/model \\
    --output runs/demo/evaluation
"""
_EMBED = """Write tables of the embeddings of images.

Reads a prepared dataset, some of its shards, or whatever prepare reads: a folder of images, IDX,
.npz, .npy or TFRecord files, or the name of a dataset. Images that prepare did not write are
converted to the size and the channels that the model needs; those that cannot be read are listed in
quarantine/ with the reason. Writes one table for each shard, of the columns id, split, label,
label_name, mean (the embedding), log_variance, rate, distortion (both in nats) and outlier_score
(how unlike the training set: about 0 for a typical image of it, 5 or more for an unlikely one).
--columns picks; there are also x and y, coordinates in a plane, and image, a PNG file. A command
that was interrupted continues with the shards that are missing.

  python -m pipeline embed --model runs/demo/model --input runs/demo/examples --output out
  python -m pipeline embed --model runs/demo/model --input path/to/images --output out
  python -m pipeline embed --model runs/demo/model --input 'runs/demo/examples/*test*' \\
    --columns id,mean --format npy --output runs/demo/test_embeddings
"""
_NEIGHBOURS = """Search tables of embeddings for neighbors, outliers or near duplicates.

Reads the Parquet files that embed or evaluate wrote. Shows the rows that are nearest to a row or to
an image file (--query), the most unlikely images (--outliers), or groups of images that are hard to
tell apart from their latents (--duplicates). With --output, writes what it shows, all rows that it
found as JSON Lines and, if the tables have the column image, a contact sheet.

  python -m pipeline neighbours --embeddings runs/demo/embeddings --query test-00000768
  python -m pipeline neighbours --embeddings runs/demo/embeddings --query photo.png --output out
  python -m pipeline neighbours --embeddings runs/demo/embeddings --outliers --count 20
  python -m pipeline neighbours --embeddings runs/demo/embeddings --duplicates --output out
"""
_EXPORT = """Write a model in formats that other programs run without this project.

Writes saved_model/1, a SavedModel for TensorFlow Serving with the signatures encode, encode_bytes,
decode, reconstruct, sample and score on raw pixels; and encoder and decoder as .keras files and, if
asked for with --formats, for ONNX Runtime and LiteRT. Each file is compared with the model before
anything is published. Shows sizes and latencies.

  python -m pipeline export --model runs/demo/model --output runs/demo/export
  python -m pipeline export --model runs/demo/model --output runs/demo/portable \\
    --formats keras,onnx,litert
"""
_COMPARE = """Compare runs with the first of them.

A run is a directory with model/ and evaluation/. Writes comparison.html, which shows everything on
one page, comparison.json, and comparison.txt, the table that is printed: scores with the
differences from the first run and their 95 % intervals, and the settings that differ. Of runs that
scored the same images, the differences are those of each image, which makes them precise.

  python -m pipeline compare runs/demo runs/demo32 --output runs/comparison
"""


def main() -> None:
    """Runs the stage given by the process's arguments."""
    arguments, beam_args = _split_arguments(sys.argv[1:])
    if arguments and not arguments[0].startswith("-") and arguments[0] not in STAGES:
        raise ConfigError(f"unknown stage {arguments[0]!r}; {nearest(arguments[0], STAGES)}")
    values = vars(_parser().parse(arguments))
    command: Callable[..., None] = values.pop("command")
    del values["parser"]
    command(values, beam_args)


def _split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments before `--`, and those after it, which are Beam's."""
    if "--" not in arguments:
        return arguments, []
    index = arguments.index("--")
    return arguments[:index], arguments[index + 1 :]


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m pipeline", description=__doc__)
    stages = parser.add_subparsers(
        metavar="COMMAND", required=True, parser_class=command_line.Parser
    )

    def add_stage(
        name: str, command: Callable[..., None], description: str
    ) -> argparse.ArgumentParser:
        summary = description.partition("\n")[0].rstrip(".")
        stage = stages.add_parser(
            name, help=summary[0].lower() + summary[1:], description=description
        )
        stage.set_defaults(command=command, parser=stage)
        return stage

    def add_directory(stage: argparse.ArgumentParser, option: str, help: str) -> None:
        stage.add_argument(option, required=True, type=command_line.path, metavar="DIR", help=help)

    run = add_stage("run", _run, _RUN)
    add_directory(run, "--run", "directory of the run")
    run.add_argument(
        "--preset", default="mlp", help=f"named configuration: {', '.join(preset_names())} [mlp]"
    )
    run.add_argument(
        "--config",
        type=command_line.path,
        metavar="FILE",
        help="YAML file of fields that override the preset's",
    )
    add_options(run, PrepareConfig)
    add_options(run, TrainConfig, hide_defaults=preset_fields())
    add_options(run, RunOptions)
    add_options(run, EvaluateConfig, hide_defaults=("metrics",))

    prepare = add_stage("prepare", _prepare, _PREPARE)
    add_directory(prepare, "--output", "directory to write the prepared dataset to")
    prepare.add_argument(
        "--retry_quarantined",
        action="store_true",
        help="read only the inputs in the quarantine of --output; use it after fixing inputs",
    )
    add_options(prepare, PrepareConfig)

    evaluate = add_stage("evaluate", _evaluate, _EVALUATE)
    add_directory(
        evaluate,
        "--examples",
        "directory of a prepared dataset, made by `python -m pipeline prepare`",
    )
    add_directory(evaluate, "--model", "directory of a model, made by `python -m trainer`")
    add_directory(evaluate, "--output", "directory to write the evaluation to")
    add_options(evaluate, EvaluateConfig, hide_defaults=("metrics",))

    embed = add_stage("embed", _embed, _EMBED)
    add_directory(embed, "--model", "directory of a model, made by `python -m trainer`")
    embed.add_argument(
        "--input",
        required=True,
        type=command_line.path,
        metavar="INPUT",
        help="directory of a prepared dataset; a path of some of its TFRecord files, in quotes, "
        "with the wildcards * and ?; or what --dataset of prepare takes",
    )
    add_directory(embed, "--output", "directory to write the tables to")
    add_options(embed, EmbedConfig)
    add_options(embed, PrepareConfig, without=_NO_SOURCE_OPTIONS)

    neighbours = add_stage("neighbours", _neighbours, _NEIGHBOURS)
    add_directory(
        neighbours,
        "--embeddings",
        "directory of tables, made by `python -m pipeline embed` or `evaluate`",
    )
    search = neighbours.add_mutually_exclusive_group(required=True)
    search.add_argument(
        "--query", metavar="ID|IMAGE", help="id of a row, or path of an image file, to look near"
    )
    search.add_argument(
        "--outliers", action="store_true", help="list the rows of the highest outlier scores"
    )
    search.add_argument("--duplicates", action="store_true", help="list groups of near duplicates")
    neighbours.add_argument(
        "--model",
        type=command_line.path,
        metavar="DIR",
        help="directory of the model that made the tables, for an image file [the one in the "
        "manifest of the tables]",
    )
    neighbours.add_argument(
        "--output",
        type=command_line.path,
        metavar="DIR",
        help="directory to write the rows and the contact sheet to [show the table only]",
    )
    add_options(neighbours, NeighboursConfig)

    export = add_stage("export", _export, _EXPORT)
    add_directory(export, "--model", "directory of a model, made by `python -m trainer`")
    add_directory(export, "--output", "directory to write the exported files to")
    add_options(export, ExportConfig)

    compare = add_stage("compare", _compare, _COMPARE)
    compare.add_argument(
        "runs",
        nargs="+",
        type=command_line.path,
        metavar="RUN",
        help="directory of a run, made by `python -m pipeline run`; two or more",
    )
    add_directory(compare, "--output", "directory to write the comparison to")
    for stage in (run, evaluate):
        stage.add_argument(
            "--gate",
            action="append",
            default=[],
            metavar="CONDITION",
            help="exit with code 1 if a metric of the evaluation does not meet a condition, such "
            "as 'elbo>=-240' or 'knn_accuracy>0.85'; may be repeated",
        )
        stage.add_argument(
            "--strict",
            action="store_true",
            help="exit with code 1 if the doctor finds an error in the model",
        )
    for stage in stages.choices.values():
        target = "--run" if stage is run else "--output"
        stage.add_argument(
            "--overwrite",
            action="store_true",
            help=f"replace a different or damaged artifact in {target}",
        )
        stage.add_argument(
            "--verify",
            action="store_true",
            help=f"if {target} is up to date, read all its files and compare their content with "
            "the digests in the manifest",
        )
    return parser


def _run(values: dict[str, Any], beam_args: Sequence[str]) -> None:
    directory, preset, file, overwrite, verify = (
        values.pop(name) for name in ("run", "preset", "config", "overwrite", "verify")
    )
    requirements = _requirements(values)
    prepare_config = _prepare_config(pop_fields(values, PrepareConfig))
    evaluate_config = from_mapping(
        EvaluateConfig, pop_fields(values, EvaluateConfig), where=COMMAND_LINE
    )
    run_options = from_mapping(RunOptions, pop_fields(values, RunOptions), where=COMMAND_LINE)
    train_config = load_config(preset, file=file, overrides=values)
    _check_beam_options(beam_args)

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


def _prepare(values: dict[str, Any], beam_args: Sequence[str]) -> None:
    names = ("output", "overwrite", "verify", "retry_quarantined")
    options = {name: values.pop(name) for name in names}
    config = _prepare_config(values)
    _check_beam_options(beam_args)

    from pipeline.prepare.stage import prepare

    prepare(config, **options, beam_args=beam_args)


def _evaluate(values: dict[str, Any], beam_args: Sequence[str]) -> None:
    if beam_args:
        raise ConfigError("the evaluate stage takes no Beam options; the embed stage does")
    names = ("examples", "model", "output", "overwrite", "verify")
    options = {name: values.pop(name) for name in names}
    requirements = _requirements(values)
    config = from_mapping(EvaluateConfig, values, where=COMMAND_LINE)

    from pipeline.evaluate.stage import evaluate

    evaluate(config, **options)
    requirements.check(options["output"])


def _embed(values: dict[str, Any], beam_args: Sequence[str]) -> None:
    config = from_mapping(EmbedConfig, pop_fields(values, EmbedConfig), where=COMMAND_LINE)
    given = pop_fields(values, PrepareConfig)
    prepare_config = from_mapping(PrepareConfig, given, where=COMMAND_LINE)
    _check_beam_options(beam_args)

    from pipeline.apply.embed import embed

    embed(
        config,
        pattern=values.pop("input"),
        source_options={name: getattr(prepare_config, name) for name in given},
        **values,
        beam_args=beam_args,
    )


def _neighbours(values: dict[str, Any], beam_args: Sequence[str]) -> None:
    if beam_args:
        raise ConfigError("the neighbours stage takes no Beam options; the embed stage does")
    config = from_mapping(
        NeighboursConfig, pop_fields(values, NeighboursConfig), where=COMMAND_LINE
    )

    from pipeline.neighbours import stage

    outliers, duplicates = values.pop("outliers"), values.pop("duplicates")
    search = stage.OUTLIERS if outliers else stage.DUPLICATES if duplicates else stage.NEAREST
    stage.neighbours(config, search=search, query_name=values.pop("query"), **values)


def _export(values: dict[str, Any], beam_args: Sequence[str]) -> None:
    if beam_args:
        raise ConfigError("the export stage takes no Beam options; the embed stage does")
    names = ("model", "output", "overwrite", "verify")
    options = {name: values.pop(name) for name in names}
    config = from_mapping(ExportConfig, values, where=COMMAND_LINE)

    from pipeline.export.stage import export

    export(config, **options)


def _compare(values: dict[str, Any], beam_args: Sequence[str]) -> None:
    if beam_args:
        raise ConfigError("the compare stage takes no Beam options; the embed stage does")
    from pipeline.compare.stage import compare

    compare(values.pop("runs"), **values)


def _requirements(values: dict[str, Any]) -> "Requirements":
    """What the evaluation must reach; removes these options from the values."""
    from pipeline.evaluate.gates import Requirements

    return Requirements.parse(values.pop("gate"), is_strict=values.pop("strict"))


def _check_beam_options(beam_args: Sequence[str]) -> None:
    if beam_args:
        from pipeline.beam import launch  # Imports Beam, which takes a second.

        launch.check_options(beam_args)


def _prepare_config(values: dict[str, Any]) -> PrepareConfig:
    config = from_mapping(PrepareConfig, values, where=COMMAND_LINE)
    data_dir = config.data_dir or dataset_names.default_data_dir()
    dataset_names.check_dataset(config.dataset, data_dir, config.features)
    return config


if __name__ == "__main__":
    command_line.run(main)

"""Prepare images, train a variational autoencoder (VAE) on them, and evaluate it.

Each stage reads directories, and writes a directory with a manifest:

  prepare     reads a dataset; writes a prepared dataset: checked, sharded TFRecord files
  train       reads a prepared dataset; writes a model (`python -m trainer`)
  evaluate    reads a prepared dataset and a model; writes scores, embeddings, figures, a report
  embed       reads a model and images; writes tables of embeddings
  neighbours  reads tables of embeddings; shows neighbors of an image, outliers or duplicates
  generate    reads a model; writes new images: samples, variations, ways between images
  denoise     reads a model and noisy images; writes denoised images
  compress    reads a model and images; writes one file without loss; decompress reads it
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
from pipeline.compress.config import CompressConfig
from pipeline.denoise.config import DenoiseConfig
from pipeline.evaluate.config import EvaluateConfig
from pipeline.export.config import ExportConfig
from pipeline.generate.config import GenerateConfig
from pipeline.neighbours.config import NeighboursConfig
from pipeline.prepare.config import PrepareConfig
from trainer.config import RunOptions, TrainConfig, load_config, preset_fields, preset_names

if TYPE_CHECKING:
    from pipeline.evaluate.gates import Requirements

STAGES = (
    "run",
    "prepare",
    "evaluate",
    "embed",
    "neighbours",
    "generate",
    "denoise",
    "export",
    "compare",
    "compress",
    "decompress",
)
# Those that run on Beam, and take its options.
BEAM_STAGES = ("run", "prepare", "embed", "denoise")
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
_GENERATE = """Write new images of a model.

Writes PNG files, a Parquet file of their latents, and figures: samples or, if asked for, variations
of an image (--near), the way from one image to another (--interpolate, with an animation), or what
each latent does, the most informative one first (--traverse, with an animation). An image is a file
or the id of an example of the dataset that the model was trained on. The same seed gives the same
files on the same device. A command that was interrupted continues.

  python -m pipeline generate --model runs/demo/model --count 64 --output runs/demo/samples
  python -m pipeline generate --model runs/demo/model --near photo.png --output runs/demo/near
  python -m pipeline generate --model runs/demo/model --interpolate test-00000768 photo.png \\
    --steps 16 --output runs/demo/way
  python -m pipeline generate --model runs/demo/model --traverse --output runs/demo/latents
"""
_DENOISE = """Denoise images.

Reads what embed reads, but scales no image: those that do not have the size and the channels of the
model are listed in quarantine/. Writes images/, a PNG file of each image with its name, size and
channels: the mean of what the model decodes from --samples draws of the posterior. With --sample N,
also N of these draws of each image, in samples/; with --uncertainty, also their standard deviation
at each pixel, in uncertainty/, in which white is a standard deviation of half the range. Train the
model with --preset denoise. A command that was interrupted continues with the shards that are
missing.

  python -m trainer --examples runs/demo/examples --output runs/demo/denoiser --preset denoise
  python -m pipeline denoise --model runs/demo/denoiser --input path/to/noisy --output out
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
_COMPRESS = """Compress images to one file, without loss.

Reads a folder of images (PNG, JPEG, WebP, BMP), all of the size and the channels of the model's, or
a prepared dataset or some of its shards. The model must have a likelihood of 256 levels, as the
preset lossless has. The file is about as large as the negative ELBO of the images. A command that
was interrupted continues with the blocks that are missing.

  python -m pipeline compress --model runs/demo/model --input path/to/images --output images.vaez
  python -m pipeline compress --model runs/demo/model --input 'runs/demo/examples/*test*' \\
    --output test.vaez
"""
_DECOMPRESS = """Give back the images of a file that compress wrote.

Writes a folder as PNG files of the same names and sub-folders, and shards as a prepared dataset
with the same ids, labels and order. It needs the same model, and a machine that computes the same
numbers with it: on another one it ends with an error, never with other images.

  python -m pipeline decompress --model runs/demo/model --input images.vaez --output images
"""


def main() -> None:
    """Runs the stage given by the process's arguments."""
    arguments, beam_args = _split_arguments(sys.argv[1:])
    if arguments and not arguments[0].startswith("-") and arguments[0] not in STAGES:
        raise ConfigError(f"unknown stage {arguments[0]!r}; {nearest(arguments[0], STAGES)}")
    values = vars(_parser().parse(arguments))
    command: Callable[..., None] = values.pop("command")
    del values["parser"]
    if arguments[0] in BEAM_STAGES:
        command(values, beam_args)
        return
    if beam_args:
        raise ConfigError(f"the {arguments[0]} stage takes no Beam options; the embed stage does")
    command(values)


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

    def add_input(stage: argparse.ArgumentParser) -> None:
        stage.add_argument(
            "--input",
            required=True,
            type=command_line.path,
            metavar="INPUT",
            help="directory of a prepared dataset; a path of some of its TFRecord files, in "
            "quotes, with the wildcards * and ?; or what --dataset of prepare takes",
        )

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
    add_input(embed)
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

    generate = add_stage("generate", _generate, _GENERATE)
    add_directory(generate, "--model", "directory of a model, made by `python -m trainer`")
    add_directory(generate, "--output", "directory to write the images to")
    generate.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="of a model that is conditioned on classes, the class of all images, by its name or "
        "the number of its label [of samples, all in turn; of variations, that of the image]",
    )
    instead = generate.add_mutually_exclusive_group()
    instead.add_argument(
        "--near", metavar="ID|IMAGE", help="write variations of an image instead of samples"
    )
    instead.add_argument(
        "--interpolate",
        nargs=2,
        metavar="ID|IMAGE",
        help="write the images on the way from one image to another",
    )
    instead.add_argument(
        "--traverse", action="store_true", help="write a row of images for each active latent"
    )
    add_options(generate, GenerateConfig)

    denoise = add_stage("denoise", _denoise, _DENOISE)
    add_directory(denoise, "--model", "directory of a model, made by `python -m trainer`")
    add_input(denoise)
    add_directory(denoise, "--output", "directory to write the images to")
    add_options(denoise, DenoiseConfig)
    denoise.add_argument(
        "--uncertainty", action="store_true", help="write an image of each image's uncertainty too"
    )
    add_options(denoise, PrepareConfig, without=_NO_SOURCE_OPTIONS)

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

    compress = add_stage("compress", _compress, _COMPRESS)
    add_directory(compress, "--model", "directory of a model, made by `python -m trainer`")
    compress.add_argument(
        "--input",
        required=True,
        type=command_line.path,
        metavar="INPUT",
        help="folder of images; directory of a prepared dataset; or a path of some of its TFRecord "
        "files, in quotes, with the wildcards * and ?",
    )
    compress.add_argument(
        "--output",
        required=True,
        type=command_line.path,
        metavar="FILE",
        help="file to write, such as images.vaez",
    )
    add_options(compress, CompressConfig)
    compress.add_argument(
        "--estimate",
        action="store_true",
        help="say how large the file will be, by the ELBO, and write nothing",
    )
    compress.add_argument(
        "--no_verify",
        action="store_true",
        help="write blocks without decoding them first, which takes half the time",
    )

    decompress = add_stage("decompress", _decompress, _DECOMPRESS)
    add_directory(decompress, "--model", "directory of the model that compressed the images")
    decompress.add_argument(
        "--input",
        required=True,
        type=command_line.path,
        metavar="FILE",
        help="file that compress wrote",
    )
    add_directory(decompress, "--output", "directory to write the images to")
    decompress.add_argument(
        "--salvage",
        action="store_true",
        help="of a damaged file, write the images of the blocks that are intact",
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


def _evaluate(values: dict[str, Any]) -> None:
    names = ("examples", "model", "output", "overwrite", "verify")
    options = {name: values.pop(name) for name in names}
    requirements = _requirements(values)
    config = from_mapping(EvaluateConfig, values, where=COMMAND_LINE)

    from pipeline.evaluate.stage import evaluate

    evaluate(config, **options)
    requirements.check(options["output"])


def _embed(values: dict[str, Any], beam_args: Sequence[str]) -> None:
    config = from_mapping(EmbedConfig, pop_fields(values, EmbedConfig), where=COMMAND_LINE)
    options = _apply_options(values, beam_args)

    from pipeline.apply.embed import embed

    embed(config, **options, beam_args=beam_args)


def _denoise(values: dict[str, Any], beam_args: Sequence[str]) -> None:
    config = from_mapping(DenoiseConfig, pop_fields(values, DenoiseConfig), where=COMMAND_LINE)
    options = _apply_options(values, beam_args)

    from pipeline.denoise.stage import denoise

    denoise(config, **options, beam_args=beam_args)


def _apply_options(values: dict[str, Any], beam_args: Sequence[str]) -> dict[str, Any]:
    """The arguments of a stage that applies a model to images, besides its own settings."""
    given = pop_fields(values, PrepareConfig)
    config = from_mapping(PrepareConfig, given, where=COMMAND_LINE)
    _check_beam_options(beam_args)
    pattern = values.pop("input")
    return {
        **values,
        "pattern": pattern,
        "source_options": {name: getattr(config, name) for name in given},
    }


def _neighbours(values: dict[str, Any]) -> None:
    config = from_mapping(
        NeighboursConfig, pop_fields(values, NeighboursConfig), where=COMMAND_LINE
    )

    from pipeline.neighbours import stage

    outliers, duplicates = values.pop("outliers"), values.pop("duplicates")
    search = stage.OUTLIERS if outliers else stage.DUPLICATES if duplicates else stage.NEAREST
    stage.neighbours(config, search=search, query_name=values.pop("query"), **values)


def _generate(values: dict[str, Any]) -> None:
    config = from_mapping(GenerateConfig, pop_fields(values, GenerateConfig), where=COMMAND_LINE)

    from pipeline.generate.stage import generate

    generate(config, **values)


def _export(values: dict[str, Any]) -> None:
    names = ("model", "output", "overwrite", "verify")
    options = {name: values.pop(name) for name in names}
    config = from_mapping(ExportConfig, values, where=COMMAND_LINE)

    from pipeline.export.stage import export

    export(config, **options)


def _compare(values: dict[str, Any]) -> None:
    from pipeline.compare.stage import compare

    compare(values.pop("runs"), **values)


def _requirements(values: dict[str, Any]) -> "Requirements":
    """What the evaluation must reach; removes these options from the values."""
    from pipeline.evaluate.gates import Requirements

    return Requirements.parse(values.pop("gate"), is_strict=values.pop("strict"))


def _compress(values: dict[str, Any]) -> None:
    config = from_mapping(CompressConfig, pop_fields(values, CompressConfig), where=COMMAND_LINE)

    from pipeline.compress.compress import compress

    compress(
        config,
        pattern=values.pop("input"),
        only_estimate=values.pop("estimate"),
        check_blocks=not values.pop("no_verify"),
        **values,
    )


def _decompress(values: dict[str, Any]) -> None:
    from pipeline.compress.decompress import decompress

    decompress(source=values.pop("input"), **values)


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

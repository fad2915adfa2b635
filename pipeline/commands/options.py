"""Options that several commands have."""

import argparse
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from components.base import command_line
from components.base.config import add_options, from_mapping, pop_fields
from components.sources import dataset_names
from pipeline.prepare.config import PrepareConfig

if TYPE_CHECKING:
    from pipeline.evaluate.gates import Requirements

_Config = TypeVar("_Config")
_COMMAND_LINE = "the command line"
# Fields of PrepareConfig that do not say how to read a source; the model determines the size and
# the channels.
_NO_SOURCE_OPTIONS = (
    "dataset",
    "image_size",
    "channels",
    "duplicates",
    "validation_fraction",
)


def settings(config_type: type[_Config], values: dict[str, Any]) -> _Config:
    """The settings of a type among the values of the options; removes them from the values.

    Raises:
      ConfigError: a setting is not valid.
    """
    return from_mapping(config_type, pop_fields(values, config_type), where=_COMMAND_LINE)


def add_path(
    parser: argparse.ArgumentParser, option: str, metavar: str, help: str, *, required: bool = True
) -> None:
    """Adds an option for a path."""
    parser.add_argument(
        option, required=required, type=command_line.path, metavar=metavar, help=help
    )


def add_directory(parser: argparse.ArgumentParser, option: str, help: str) -> None:
    """Adds a required option for a directory."""
    add_path(parser, option, "DIR", help)


def add_model(
    parser: argparse.ArgumentParser, help: str = "directory of a model, made by `python -m trainer`"
) -> None:
    """Adds the option for the directory of a model."""
    add_directory(parser, "--model", help)


def add_input(parser: argparse.ArgumentParser) -> None:
    """Adds the option for images of any source."""
    add_path(
        parser,
        "--input",
        "INPUT",
        "directory of a prepared dataset; a path of some of its TFRecord files, in "
        "quotes, with the wildcards * and ?; or what --dataset of prepare takes",
    )


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how to read a source of `--input`."""
    add_options(parser, PrepareConfig, without=_NO_SOURCE_OPTIONS)


def apply_arguments(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a stage that applies a model to images, besides its own settings.

    Raises:
      ConfigError: an option of the source or of Beam is not valid.
    """
    given = pop_fields(values, PrepareConfig)
    config = from_mapping(PrepareConfig, given, where=_COMMAND_LINE)
    check_beam_options(values["beam_args"])
    pattern = values.pop("input")
    return {
        **values,
        "pattern": pattern,
        "source_options": {name: getattr(config, name) for name in given},
    }


def prepare_config(values: dict[str, Any]) -> PrepareConfig:
    """The settings for preparing a dataset; removes them from the values.

    Raises:
      ConfigError: a setting is not valid, or the dataset is unknown.
    """
    config = settings(PrepareConfig, values)
    data_dir = config.data_dir or dataset_names.default_data_dir()
    dataset_names.check_dataset(config.dataset, data_dir, config.features)
    return config


def check_beam_options(beam_args: Sequence[str]) -> None:
    """Checks the options after `--`.

    Raises:
      ConfigError: Beam does not know one of them.
    """
    if beam_args:
        from pipeline.beam import launch  # Imports Beam, which takes a second.

        launch.check_options(beam_args)


def add_requirements(parser: argparse.ArgumentParser) -> None:
    """Adds the options for requirements of an evaluation."""
    parser.add_argument(
        "--gate",
        action="append",
        default=[],
        metavar="CONDITION",
        help="exit with code 1 if a metric of the evaluation does not meet a condition, such "
        "as 'elbo>=-240' or 'knn_accuracy>0.85'; may be repeated",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit with code 1 if the doctor finds an error in the model",
    )


def requirements(values: dict[str, Any], metrics: Collection[str]) -> "Requirements":
    """The requirements of an evaluation; removes these options from the values.

    Args:
      values: of the options.
      metrics: names of the metrics that the evaluation measures.

    Raises:
      ConfigError: a gate is malformed, or its metric is not measured.
    """
    from pipeline.evaluate.gates import Requirements

    gates, is_strict = values.pop("gate"), values.pop("strict")
    return Requirements.parse(gates, is_strict=is_strict, metrics=metrics)

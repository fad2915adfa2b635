"""Checks of what Dataflow needs, as far as this machine can tell."""

import importlib.util
import os

from apache_beam.options.pipeline_options import (
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

from components.base import console
from components.base.errors import ConfigError, one_line

# The packages of Beam's extra `gcp` that its runner imports.
_PACKAGES = ("google.auth", "google.cloud.dataflow", "google.cloud.storage")
_SETUP_FILES = ("pyproject.toml", "setup.py")


def check(options: PipelineOptions) -> None:
    """Checks all that needs no account of Google Cloud, if the runner is that of Dataflow.

    Raises:
      ConfigError: an option or a package is missing, or the workers would not have this project.
    """
    name = options.view_as(StandardOptions).runner
    if (name or "").rpartition(".")[2].lower() not in ("dataflow", "dataflowrunner"):
        return
    # Beam warns of packages that are missing.
    with console.hidden_stderr():
        problems = PipelineOptionsValidator(options, DataflowRunner()).validate()
    if problems:
        raise ConfigError(f"DataflowRunner: {one_line(' '.join(problems))}")
    _check_code(options)
    if missing := [name for name in _PACKAGES if not _is_installed(name)]:
        raise ConfigError(
            f"DataflowRunner needs packages that are not installed ({', '.join(missing)}); "
            "install apache-beam[gcp]"
        )


def _check_code(options: PipelineOptions) -> None:
    """Checks that the workers get this project.

    Raises:
      ConfigError: no option says how, or the file of one cannot be used.
    """
    setup = options.view_as(SetupOptions)
    path = setup.setup_file
    if path is None:
        if not setup.extra_packages and not options.view_as(WorkerOptions).sdk_container_image:
            raise ConfigError(
                "Dataflow's workers would not have this project; pass "
                "--setup_file=./pyproject.toml, or an image that has it as --sdk_container_image"
            )
        return
    if os.path.basename(path) not in _SETUP_FILES or not os.path.isfile(path):
        raise ConfigError(f"--setup_file: {path} is not a file named {' or '.join(_SETUP_FILES)}")
    if not os.path.dirname(path):
        # Beam changes to the directory of the file, and not to that of an empty path.
        raise ConfigError(f"--setup_file: Beam needs a path with a directory: ./{path}")
    if not _is_installed("build"):
        raise ConfigError("--setup_file needs the package build; run pip install build")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False

"""The commands that repeat an evaluation, from the manifests of its inputs."""

import dataclasses
import os
import shlex
from collections.abc import Mapping
from typing import Any

from etils import epath

from components.base import console
from components.base.manifest import Artifact
from pipeline.evaluate.config import EvaluateConfig
from trainer.config import TrainConfig, load_config, preset_names


def repeat_commands(
    examples: Artifact, model: Artifact, config: EvaluateConfig, *, output: epath.PathLike
) -> str:
    """The commands that make a dataset, its model and the evaluation again, one after the other.

    Where the examples come from a file or a folder, only the settings of that command are known, so
    it is not among them.

    Args:
      examples: artifact of the prepare stage.
      model: artifact of the train stage.
      config: settings of the evaluation.
      output: directory of the evaluation.

    Returns:
      Lines of a shell.
    """
    lines = []
    source = examples.manifest.inputs.get("source")
    if source is not None and source.path is None:
        config_of_examples = examples.manifest.config.items()
        options = [(name, _option(value, separator="x")) for name, value in config_of_examples]
        given = [(name, value) for name, value in options if value]
        lines.append(_command("pipeline prepare", [*given, ("output", examples.path)]))
    preset = model.manifest.config.get("preset")
    is_known = preset in preset_names()
    base = load_config(str(preset)) if is_known else TrainConfig()
    named = [("preset", preset)] if is_known else []
    places: list[tuple[str, Any]] = [("examples", examples.path), ("output", model.path)]
    options = _changed(model.manifest.config, TrainConfig, base)
    lines.append(_command("trainer", [*places, *named, *options]))
    places = [("examples", examples.path), ("model", model.path), ("output", output)]
    options = _changed(dataclasses.asdict(config), EvaluateConfig, EvaluateConfig())
    lines.append(_command("pipeline evaluate", [*places, *options]))
    return "\n".join(lines)


def _changed(config: Mapping[str, Any], cls: Any, base: Any) -> list[tuple[str, Any]]:
    """The fields of a config class whose values differ from those of a base, as options.

    A flag has an empty value.
    """
    options: list[tuple[str, Any]] = []
    for field in dataclasses.fields(cls):
        # A manifest may lack a field, or have the resolved value of one that is not given.
        if field.name in config:
            given, default = config[field.name], getattr(base, field.name)
            if isinstance(given, bool):
                if given != default:
                    options.append((field.name if given else f"no_{field.name}", ""))
            elif _option(given) not in (_option(default), ""):
                options.append((field.name, _option(given)))
    return options


def _option(value: Any, *, separator: str = ",") -> str:
    """A value as a user would type it; empty for none."""
    if isinstance(value, list | tuple):
        return separator.join(map(str, value))
    return "" if value is None else str(value)


def _command(module: str, options: list[tuple[str, Any]]) -> str:
    words = [
        f"--{name} {shlex.quote(console.visible(os.fspath(value)))}" if value else f"--{name}"
        for name, value in options
    ]
    return " \\\n  ".join([f"python -m {module}", *words])

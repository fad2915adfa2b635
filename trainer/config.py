"""The trainer's config, and the presets: named configurations in `presets/*.yaml`."""

import dataclasses
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from components.config import from_mapping, option
from components.errors import ConfigError, nearest

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Model and training; the preset gives what is not given here."""

    network: str = option("mlp", "architecture of encoder and decoder", choices=("mlp", "conv"))
    latents: int = option(2, "latent dimensions")
    widths: tuple[int, ...] = option(
        (256,),
        "layer widths from the image inwards; conv: channels of each stride-2 layer, then a "
        "dense width",
    )
    epochs: int = option(50, "passes over the training split")
    batch_size: int = option(100, "global batch size: examples per step over all replicas")
    optimizer: str = option("rmsprop", "update rule", choices=("adam", "rmsprop"))
    learning_rate: float = option(1e-3, "largest step size")
    schedule: str = option("constant", "learning rate over the run", choices=("constant", "cosine"))
    warmup_steps: int = option(0, "steps over which the learning rate rises from 0")
    clip_norm: float = option(0.0, "bound of the gradients' global norm; 0: none")
    beta: float = option(1.0, "weight of the rate in the loss; 1 is the ELBO")
    seed: int = option(0, "seed of the weights, the order of examples and the noise")
    precision: str = option(
        "auto",
        "of the inner layers; auto: bfloat16 on GPUs that have it, float16 on older ones, "
        "float32 on the CPU",
        choices=PRECISIONS,
    )
    replicas: int = option(0, "GPUs to use, or logical CPU devices; 0: all GPUs, or one CPU")
    steps_per_call: int = option(100, "training steps between returns to Python")
    eval_every: int = option(1, "epochs between held-out evaluations")

    def __post_init__(self) -> None:
        for name in ("latents", "epochs", "batch_size", "steps_per_call", "eval_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1. Received: {getattr(self, name)}")
        for name in ("warmup_steps", "clip_norm", "beta", "seed", "replicas"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0. Received: {getattr(self, name)}")
        if self.seed >= 2**32:
            raise ConfigError(f"seed must be under 2^32. Received: {self.seed}")
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate must be over 0. Received: {self.learning_rate}")
        least = 2 if self.network == "conv" else 1
        if len(self.widths) < least or min(self.widths) < 1:
            raise ConfigError(
                f"widths of {self.network} must be {least} or more numbers over 0. "
                f"Received: {','.join(map(str, self.widths))}"
            )


def preset_names() -> list[str]:
    """The presets there are."""
    files = resources.files("trainer.presets").iterdir()
    return sorted(file.name[:-5] for file in files if file.name.endswith(".yaml"))


def load_config(
    preset: str, *, file: str | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainConfig:
    """The preset's fields, then the YAML file's over them, then `overrides`.

    Raises:
      ConfigError: no such preset, file or field (names the nearest), or a value out of range.
    """
    if preset not in preset_names():
        raise ConfigError(f"unknown preset {preset!r}; {nearest(preset, preset_names())}")
    text = resources.files("trainer.presets").joinpath(f"{preset}.yaml").read_text()
    values = dict(yaml.safe_load(text))
    where = f"preset {preset}"
    if file is not None:
        values |= _read_yaml(file)
        where = f"{where} or {file}"
    from_mapping(TrainConfig, values, where=where)
    return from_mapping(TrainConfig, values | dict(overrides or {}), where="the command line")


def _read_yaml(file: str) -> dict[str, Any]:
    try:
        with open(file) as stream:
            values = yaml.safe_load(stream)
    except OSError as error:
        raise ConfigError(f"config file {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file} is no YAML: {reason}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{file} must hold `field: value` lines")
    return {str(name): value for name, value in values.items()}

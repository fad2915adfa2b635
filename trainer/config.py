"""The trainer's settings, and the presets: named configurations in `presets/*.yaml`."""

import dataclasses
from collections.abc import Mapping
from importlib import resources
from typing import Any

from components.base import yaml_file
from components.base.config import from_mapping, option
from components.base.errors import ConfigError, nearest
from components.model.network_registry import MIN_WIDTHS, NETWORKS
from trainer.choices import (
    BETA_SCHEDULES,
    LEARNING_RATE_SCHEDULES,
    OPTIMIZERS,
    OPTIMIZERS_WITH_DECAY,
)

PRECISIONS = ("auto", "float32", "bfloat16", "float16")

_AT_LEAST_1 = (
    "latents", "epochs", "batch_size", "accumulate", "beta_cycles", "steps_per_call", "eval_every",
    "heldout_examples",
)  # fmt: skip
_AT_LEAST_0 = (
    "warmup_steps", "warmup_share", "weight_decay", "clip_norm", "beta", "free_bits", "ema_decay",
    "patience", "seed", "replicas",
)  # fmt: skip
# Counts of steps and of elements have 32 bits in some parts of TensorFlow, and so have floats. A
# logical CPU device has threads of its own.
_AT_MOST: dict[str, float] = {
    **dict.fromkeys((*_AT_LEAST_1, "warmup_steps", "patience"), 2**31 - 1),
    **dict.fromkeys(("learning_rate", "weight_decay", "clip_norm", "beta", "free_bits"), 1e30),
    "replicas": 1024,
}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of the model and its training.

    A preset overrides the defaults of some of these fields: those in `preset_fields`.
    """

    network: str = option("mlp", "architecture of encoder and decoder", choices=tuple(NETWORKS))
    latents: int = option(2, "number of latent dimensions")
    widths: tuple[int, ...] = option(
        (256,),
        "layer widths from the image inwards. mlp: units of each dense layer; conv, keras_conv: "
        "channels of each stride-2 convolution, then units of a dense layer",
    )
    epochs: int = option(50, "number of passes over the training split")
    batch_size: int = option(
        100, "global batch size: number of examples per step, over all replicas"
    )
    accumulate: int = option(
        1,
        "gradient accumulation: compute each replica's share of a batch in N parts, one after the "
        "other, to save memory",
    )
    optimizer: str = option("rmsprop", "update rule of the weights", choices=tuple(OPTIMIZERS))
    learning_rate: float = option(1e-3, "largest learning rate of the run")
    schedule: str = option(
        "constant",
        "learning rate schedule; cosine falls to 0, one_cycle rises over 30 % of the run and then "
        "falls",
        choices=tuple(LEARNING_RATE_SCHEDULES),
    )
    warmup_steps: int = option(
        0, "number of steps in which the learning rate rises from 0, bounded by warmup_share"
    )
    warmup_share: float = option(
        0.1, "largest share of the run's steps that the warm-up may take, from 0 to 1"
    )
    weight_decay: float = option(
        0.0,
        f"decoupled weight decay of the kernels; only with {', '.join(OPTIMIZERS_WITH_DECAY)}",
    )
    clip_norm: float = option(
        0.0, "upper bound of the gradients' global norm, for gradient clipping; 0: no clipping"
    )
    beta: float = option(
        1.0,
        "weight of the rate in the loss, which is distortion + beta * rate; 1: the negative ELBO",
    )
    beta_schedule: str = option(
        "constant",
        "schedule of beta; linear rises from 0 over the first half of the run, cyclical over the "
        "first half of each cycle",
        choices=tuple(BETA_SCHEDULES),
    )
    beta_cycles: int = option(4, "number of cycles of the cyclical beta schedule")
    free_bits: float = option(
        0.0, "part of each latent dimension's rate that is not penalized, in nats"
    )
    ema_decay: float = option(
        0.0,
        "decay of an exponential moving average of the weights, which is evaluated and kept in "
        "place of the weights; 0: no average",
    )
    patience: int = option(
        0,
        "early stopping: end the run after N epochs without a better held-out ELBO; 0: train all "
        "epochs",
    )
    keep: str = option(
        "best",
        "which model to keep: the one with the best held-out ELBO, or the last one",
        choices=("best", "last"),
    )
    seed: int = option(0, "seed of the initial weights, the order of the examples and the noise")
    precision: str = option(
        "auto",
        "number type of the inner layers. auto: bfloat16 on GPUs that support it, float16 on older "
        "GPUs, float32 on the CPU",
        choices=PRECISIONS,
    )
    replicas: int = option(
        0,
        "number of GPUs to use on each host, or of logical CPU devices without GPUs; 0: all GPUs, "
        "or one CPU device",
    )
    steps_per_call: int = option(
        100, "number of steps that run on the device between returns to Python"
    )
    eval_every: int = option(1, "number of epochs from one held-out evaluation to the next")
    heldout_examples: int = option(
        10_000, "largest number of validation examples that an evaluation uses"
    )

    def __post_init__(self) -> None:
        _check_minimum(self, 1, _AT_LEAST_1)
        _check_minimum(self, 0, _AT_LEAST_0)
        for name, maximum in _AT_MOST.items():
            if getattr(self, name) > maximum:
                raise ConfigError(
                    f"{name} must be at most {maximum:,}. Received: {getattr(self, name)}"
                )
        if self.ema_decay >= 1:
            raise ConfigError(f"ema_decay must be less than 1. Received: {self.ema_decay}")
        if self.warmup_share > 1:
            raise ConfigError(f"warmup_share must be at most 1. Received: {self.warmup_share}")
        if self.weight_decay and self.optimizer not in OPTIMIZERS_WITH_DECAY:
            raise ConfigError(
                f"optimizer {self.optimizer} has no weight decay; choose one of "
                f"{', '.join(OPTIMIZERS_WITH_DECAY)}, or set weight_decay to 0. "
                f"Received: {self.weight_decay}"
            )
        if self.seed >= 2**32:
            raise ConfigError(f"seed must be less than 2^32. Received: {self.seed}")
        if self.learning_rate <= 0:
            raise ConfigError(
                f"learning_rate must be greater than 0. Received: {self.learning_rate}"
            )
        min_widths = MIN_WIDTHS[self.network]
        if len(self.widths) < min_widths or min(self.widths) < 1 or max(self.widths) >= 2**31:
            raise ConfigError(
                f"widths of {self.network} must be {min_widths} or more numbers, each from 1 "
                f"to 2^31 - 1. "
                f"Received: {','.join(map(str, self.widths))}"
            )

    def warmup_of(self, total_steps: int) -> int:
        """The number of warm-up steps in a run of `total_steps` steps."""
        return min(self.warmup_steps, round(self.warmup_share * total_steps))


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Options that do not change the result."""

    cache_bytes: int | None = option(
        None,
        "hold the training images in memory if they have at most N bytes, otherwise stream them "
        "from the shards; none: a quarter of the free memory",
    )
    checkpoint_seconds: float = option(600.0, "seconds between checkpoints within an epoch")
    profile: int = option(
        0,
        "number of steps to trace for TensorBoard's profiler, after the first call, which runs up "
        "to --steps_per_call steps",
    )

    def __post_init__(self) -> None:
        _check_minimum(self, 0, ("checkpoint_seconds", "profile"))
        if self.cache_bytes is not None:
            _check_minimum(self, 0, ("cache_bytes",))


@dataclasses.dataclass(frozen=True)
class VerifyOptions:
    """Options of the comparison."""

    replicas: tuple[int, ...] = option(
        (1, 2, 4), "numbers of replicas; all others are compared with the first"
    )
    steps: int = option(50, "number of training steps")
    tolerance: float = option(1e-5, "largest relative difference that passes")
    examples: str = option(
        "",
        "directory of a prepared dataset; without it, built-in synthetic images are used",
        is_path=True,
    )

    def __post_init__(self) -> None:
        if len(self.replicas) < 2 or min(self.replicas) < 1:
            raise ConfigError(
                "replicas must be two or more numbers greater than 0. "
                f"Received: {','.join(map(str, self.replicas))}"
            )
        _check_minimum(self, 1, ("steps",))
        _check_minimum(self, 0, ("tolerance",))


def _check_minimum(config: Any, minimum: int, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(config, name) < minimum:
            raise ConfigError(
                f"{name} must be at least {minimum}. Received: {getattr(config, name)}"
            )


def preset_names() -> list[str]:
    """The names of the presets, in alphabetical order."""
    files = resources.files("trainer.presets").iterdir()
    return sorted(file.name[:-5] for file in files if file.name.endswith(".yaml"))


def preset_fields() -> frozenset[str]:
    """The names of the settings that at least one preset sets."""
    return frozenset().union(*map(_read_preset, preset_names()))


def load_config(
    preset: str, *, file: str | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainConfig:
    """The settings of a preset, overridden first by a file and then by `overrides`.

    Args:
      preset: name of the preset.
      file: path of a YAML file of `field: value` lines; None for no file.
      overrides: fields from the command line, as text or as values.

    Raises:
      ConfigError: the preset, the file or a field does not exist, or a value is out of range.
    """
    if preset not in preset_names():
        raise ConfigError(f"unknown preset {preset!r}; {nearest(preset, preset_names())}")
    values = _read_preset(preset)
    where = f"preset {preset}"
    if file is not None:
        values |= yaml_file.read_fields(file)
        where = f"{where} or {file}"
    # Checked without the overrides first, so that an error message names the right place.
    from_mapping(TrainConfig, values, where=where)
    return from_mapping(TrainConfig, values | dict(overrides or {}), where="the command line")


def _read_preset(preset: str) -> dict[str, Any]:
    data = resources.files("trainer.presets").joinpath(f"{preset}.yaml").read_bytes()
    return yaml_file.parse_fields(data, where=f"preset {preset}")

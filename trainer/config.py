"""The trainer's config, and the presets: named configurations in `presets/*.yaml`."""

import dataclasses
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from components.base.config import from_mapping, option
from components.base.errors import ConfigError, nearest

NETWORKS = ("mlp", "conv", "keras_conv")
OPTIMIZERS = ("adam", "adamw", "lamb", "lion", "rmsprop")
SCHEDULES = ("constant", "cosine", "one_cycle")
BETA_SCHEDULES = ("constant", "linear", "cyclical")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


_COUNTS = (
    "latents", "epochs", "batch_size", "accumulate", "beta_cycles", "steps_per_call", "eval_every",
    "heldout_examples",
)  # fmt: skip
_AMOUNTS = (
    "warmup_steps", "weight_decay", "clip_norm", "beta", "free_bits", "ema_decay", "patience",
    "seed", "replicas",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Model and training; the preset gives what is not given here."""

    network: str = option("mlp", "architecture of encoder and decoder", choices=NETWORKS)
    latents: int = option(2, "latent dimensions")
    widths: tuple[int, ...] = option(
        (256,),
        "layer widths from the image inwards; conv: channels of each stride-2 layer, then a "
        "dense width",
    )
    epochs: int = option(50, "passes over the training split")
    batch_size: int = option(100, "global batch size: examples per step over all replicas")
    accumulate: int = option(1, "parts a replica computes its share of a batch in, to save memory")
    optimizer: str = option("rmsprop", "update rule", choices=OPTIMIZERS)
    learning_rate: float = option(1e-3, "largest step size")
    schedule: str = option("constant", "learning rate over the run", choices=SCHEDULES)
    warmup_steps: int = option(0, "steps over which the learning rate rises from 0")
    weight_decay: float = option(0.0, "decoupled decay of the kernels: adamw, lamb, lion")
    clip_norm: float = option(0.0, "bound of the gradients' global norm; 0: none")
    beta: float = option(1.0, "weight of the rate in the loss; 1 is the ELBO")
    beta_schedule: str = option(
        "constant",
        "beta over the run; linear: up over the first half; cyclical: so in each cycle",
        choices=BETA_SCHEDULES,
    )
    beta_cycles: int = option(4, "cycles of the cyclical beta_schedule")
    free_bits: float = option(0.0, "nats of each latent dimension's rate that cost nothing")
    ema_decay: float = option(
        0.0, "decay of the weights' moving average, which is then evaluated and kept; 0: none"
    )
    patience: int = option(0, "epochs without a better held-out ELBO before the run ends; 0: all")
    keep: str = option(
        "best", "the model kept: of the best held-out ELBO, or the last", choices=("best", "last")
    )
    seed: int = option(0, "seed of the weights, the order of examples and the noise")
    precision: str = option(
        "auto",
        "of the inner layers; auto: bfloat16 on GPUs that have it, float16 on older ones, "
        "float32 on the CPU",
        choices=PRECISIONS,
    )
    replicas: int = option(
        0, "GPUs to use on each host, or logical CPU devices; 0: all GPUs, or one CPU"
    )
    steps_per_call: int = option(100, "training steps between returns to Python")
    eval_every: int = option(1, "epochs between held-out evaluations")
    heldout_examples: int = option(10_000, "the most held-out examples of such an evaluation")

    def __post_init__(self) -> None:
        _check_least(self, 1, _COUNTS)
        _check_least(self, 0, _AMOUNTS)
        if self.ema_decay >= 1:
            raise ConfigError(f"ema_decay must be under 1. Received: {self.ema_decay}")
        if self.weight_decay and self.optimizer in ("adam", "rmsprop"):
            raise ConfigError(
                f"{self.optimizer} takes no weight_decay; choose adamw, lamb or lion, or leave it 0"
            )
        if self.seed >= 2**32:
            raise ConfigError(f"seed must be under 2^32. Received: {self.seed}")
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate must be over 0. Received: {self.learning_rate}")
        least = 1 if self.network == "mlp" else 2
        if len(self.widths) < least or min(self.widths) < 1:
            raise ConfigError(
                f"widths of {self.network} must be {least} or more numbers over 0. "
                f"Received: {','.join(map(str, self.widths))}"
            )


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How a run goes about it; none of these changes its result."""

    cache_bytes: int | None = option(
        None,
        "training images up to this many bytes are held in memory, more are streamed from the "
        "shards; none: a quarter of the free memory",
    )
    checkpoint_seconds: float = option(600.0, "between the checkpoints within an epoch")
    profile: int = option(0, "steps to trace for TensorBoard's profiler, after the first call")

    def __post_init__(self) -> None:
        _check_least(self, 0, ("checkpoint_seconds", "profile"))
        if self.cache_bytes is not None:
            _check_least(self, 0, ("cache_bytes",))


@dataclasses.dataclass(frozen=True)
class VerifyOptions:
    """What is compared, and how closely."""

    replicas: tuple[int, ...] = option((1, 2, 4), "numbers of replicas to compare with the first")
    steps: int = option(50, "training steps")
    tolerance: float = option(1e-5, "the largest relative difference that passes")
    examples: str = option("", "what prepare published; without, drawn garments")

    def __post_init__(self) -> None:
        if len(self.replicas) < 2 or min(self.replicas) < 1:
            raise ConfigError(
                "replicas must be two or more numbers over 0. "
                f"Received: {','.join(map(str, self.replicas))}"
            )
        _check_least(self, 1, ("steps",))
        _check_least(self, 0, ("tolerance",))


def _check_least(config: Any, least: int, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise ConfigError(f"{name} must be at least {least}. Received: {getattr(config, name)}")


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

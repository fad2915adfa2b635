"""The trainer's settings, and the presets: named configurations in `presets/*.yaml`."""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from components.base import yaml_file
from components.base.config import from_mapping, option
from components.base.errors import ConfigError, nearest
from components.base.shapes import Shape
from components.model.architecture import Architecture, default_widths
from components.model.corruption import KINDS, NO_CORRUPTION, parse_corruption
from components.model.noise_model import parse_noise_model
from components.model.registry import (
    ACTIVATIONS,
    HEADS,
    LIKELIHOODS,
    MIN_WIDTHS,
    NETWORKS,
    PRIORS,
)
from trainer import trackers
from trainer.choices import (
    BETA_SCHEDULES,
    LEARNING_RATE_SCHEDULES,
    OBJECTIVES,
    OBJECTIVES_WITH_SAMPLES,
    OPTIMIZERS,
    OPTIMIZERS_WITH_DECAY,
)

PRECISIONS = ("auto", "float32", "bfloat16", "float16")

_AT_LEAST_1 = (
    "latents", "decoder_blocks", "feature_channels", "head_layers", "levels", "epochs",
    "batch_size", "accumulate", "objective_samples", "beta_cycles", "steps_per_call", "eval_every",
    "heldout_examples",
)  # fmt: skip
_AT_LEAST_0 = (
    "encoder_blocks", "warmup_steps", "warmup_share", "weight_decay", "clip_norm", "beta",
    "beta_warmup_steps", "beta_warmup_share", "free_bits", "ema_decay", "patience", "seed",
    "replicas",
)  # fmt: skip
# Counts of steps and of elements have 32 bits in some parts of TensorFlow, and so have floats. A
# logical CPU device has threads of its own.
_AT_MOST: dict[str, float] = {
    **dict.fromkeys(
        (*_AT_LEAST_1, "encoder_blocks", "warmup_steps", "beta_warmup_steps", "patience"), 2**31 - 1
    ),
    **dict.fromkeys(("encoder_blocks", "decoder_blocks", "head_layers"), 100),
    "objective_samples": 1000,
    **dict.fromkeys(("learning_rate", "weight_decay", "clip_norm", "beta", "free_bits"), 1e30),
    "replicas": 1024,
}


# The path derivative holds the posterior constant, which is unbiased since that term of the
# gradient has the mean 0. With a floor of the rate, its mean is not 0.
_WITH_FREE_BITS = ("elbo", "importance_weighted")

_MAX_LEVELS = 4
# The settings that a hierarchy of latents allows: it has its own decoder and prior, which take no
# label, and its posterior cannot be held constant in a gradient.
_WITH_LEVELS = {
    "network": ("residual",),
    "prior": ("standard_normal",),
    "condition": ("none",),
    "objective": ("elbo", "importance_weighted"),
}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of the model and its training.

    A preset overrides the defaults of some of these fields: those in `preset_fields`.
    """

    network: str = option("mlp", "architecture of encoder and decoder", choices=tuple(NETWORKS))
    latents: int = option(2, "number of latent dimensions")
    widths: tuple[int, ...] = option(
        (),
        "layer widths from the image inwards; not given: from the size of the images. mlp: units "
        "of each dense layer; conv, keras_conv: channels of each stride-2 convolution, then units "
        "of a dense layer; residual: channels at each resolution from half the image's downwards, "
        "then units of a dense layer",
    )
    activation: str = option("relu", "activation function of the inner layers", choices=ACTIVATIONS)
    encoder_blocks: int = option(
        0, "residual: number of residual blocks of the encoder, at its lowest resolution"
    )
    decoder_blocks: int = option(
        1, "residual: number of residual blocks of the decoder at each resolution"
    )
    feature_channels: int = option(
        32,
        "channels of the decoder's features at full resolution, which the causal head reads; "
        "residual has them with every head",
    )
    likelihood: str = option(
        "bernoulli",
        "likelihood p(x|z) of the pixels. bernoulli: intensities as probabilities; binarized: "
        "pixels of 0 or 1, drawn anew at every step; logistic_mixture: 256 levels; gaussian: "
        "intensities, with a learned scale for each image",
        choices=tuple(LIKELIHOODS),
    )
    head: str = option(
        "factorized",
        "how pixels depend on one another given the latents. factorized: not at all; causal: each "
        "on its neighbors above and to the left, which makes sampling slow",
        choices=tuple(HEADS),
    )
    head_layers: int = option(
        1, "causal: number of layers over features and decoded pixels together"
    )
    prior: str = option(
        "standard_normal",
        "prior p(z) of the latents. standard_normal: N(0, I); real_nvp: a normalizing flow, which "
        "is trained with the model",
        choices=tuple(PRIORS),
    )
    levels: int = option(
        1,
        "number of levels of latents. 2 to 4, only with residual: a hierarchy from the lowest "
        "resolution upwards. Each level is a map, whose number of channels is --latents",
    )
    linear_path: str = option(
        "none",
        "only with gaussian: linear maps that are added to encoder and decoder, and are not "
        "trained. principal_components: those of the training images, which keep the detail of "
        "large images",
        choices=("none", "principal_components"),
    )
    condition: str = option(
        "none",
        "input of the prior and the decoder besides the latents. label: the label y of the image; "
        "the model then learns p(x|y) and can draw images of a chosen class",
        choices=("none", "label"),
    )
    corruption: str = option(
        NO_CORRUPTION,
        "corruption of the images that the encoder sees, while the likelihood is that of the clean "
        "images: a kind and its strength, or a range from which the strength of each image is "
        "drawn, such as gaussian:0.1-0.4. Of several kinds, such as gaussian:0.1,mask:0.2, each "
        f"image gets one. Kinds: {', '.join(KINDS)}; or {NO_CORRUPTION}",
    )
    noise_model: str = option(
        NO_CORRUPTION,
        "only with the likelihood gaussian: the noise of the images of the dataset, such as "
        "gaussian:0.2, if there are no clean images; the decoder then gives the clean image",
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
    objective: str = option(
        "elbo",
        "the bound that training maximizes. path_derivative: the ELBO with a gradient of lower "
        "variance; importance_weighted: the tighter bound of several draws",
        choices=tuple(OBJECTIVES),
    )
    objective_samples: int = option(
        1,
        "number of draws of z per example in a step; only with "
        f"{', '.join(OBJECTIVES_WITH_SAMPLES)}",
    )
    beta: float = option(
        1.0,
        "weight of the rate in the loss, which is distortion + beta * rate; 1: the negative ELBO",
    )
    beta_schedule: str = option(
        "constant",
        "schedule of beta; linear rises from 0 over the beta warm-up, cyclical over the first half "
        "of each cycle",
        choices=tuple(BETA_SCHEDULES),
    )
    beta_warmup_steps: int = option(
        0,
        "linear: number of steps in which beta rises, bounded by beta_warmup_share; 0: that share",
    )
    beta_warmup_share: float = option(
        0.5, "linear: largest share of the run's steps in which beta rises, from 0 to 1"
    )
    beta_cycles: int = option(4, "number of cycles of the cyclical beta schedule")
    free_bits: float = option(
        0.0,
        "part of each rate that is not penalized, in nats: of each latent dimension, or of each "
        "level where the rate has no closed form; only with objective "
        f"{' or '.join(_WITH_FREE_BITS)}",
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
        "GPUs, and the faster of float32 and bfloat16 on the CPU, by a short measurement",
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
        for name in ("warmup_share", "beta_warmup_share"):
            if getattr(self, name) > 1:
                raise ConfigError(f"{name} must be at most 1. Received: {getattr(self, name)}")
        if self.objective_samples > 1 and self.objective not in OBJECTIVES_WITH_SAMPLES:
            raise ConfigError(
                f"objective {self.objective} has one draw per example; choose "
                f"{' or '.join(OBJECTIVES_WITH_SAMPLES)}, or set objective_samples to 1. "
                f"Received: {self.objective_samples}"
            )
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
        if self.free_bits and self.objective not in _WITH_FREE_BITS:
            raise ConfigError(
                f"free_bits needs objective {' or '.join(_WITH_FREE_BITS)}. Received: "
                f"{self.objective}, whose gradient a floor of the rate would bias"
            )
        self._check_hierarchy()
        self._check_likelihood()
        parse_corruption(self.corruption)
        min_widths = MIN_WIDTHS[self.network]
        is_valid = all(1 <= width < 2**31 for width in self.widths)
        if self.widths and not (len(self.widths) >= min_widths and is_valid):
            raise ConfigError(
                f"widths of {self.network} must be {min_widths} or more numbers, each from 1 "
                f"to 2^31 - 1. "
                f"Received: {','.join(map(str, self.widths))}"
            )

    def _check_hierarchy(self) -> None:
        """Checks that the settings allow a hierarchy of latents.

        Raises:
          ConfigError: another setting rules it out.
        """
        if self.levels > _MAX_LEVELS:
            raise ConfigError(f"levels must be at most {_MAX_LEVELS}. Received: {self.levels}")
        for name, allowed in _WITH_LEVELS.items():
            value = getattr(self, name)
            if self.levels > 1 and value not in allowed:
                raise ConfigError(
                    f"levels={self.levels} needs {name} {' or '.join(allowed)}. Received: {value}"
                )

    def _check_likelihood(self) -> None:
        """Checks that the settings fit the likelihood.

        Raises:
          ConfigError: another setting rules it out.
        """
        if self.likelihood == "gaussian" and self.head != "factorized":
            raise ConfigError(
                "likelihood gaussian needs head factorized, since all pixels share a scale. "
                f"Received: {self.head}"
            )
        known_scale = parse_noise_model(self.noise_model)
        if known_scale is not None and self.likelihood != "gaussian":
            raise ConfigError(
                f"noise_model {self.noise_model} needs likelihood gaussian. "
                f"Received: {self.likelihood}"
            )
        if known_scale is not None and self.linear_path != "none":
            raise ConfigError(
                f"noise_model {self.noise_model} needs linear_path none, since the principal "
                f"components are those of clean images. Received: {self.linear_path}"
            )
        if self.linear_path != "none" and (self.likelihood != "gaussian" or self.levels > 1):
            raise ConfigError(
                f"linear_path {self.linear_path} needs likelihood gaussian and levels=1. "
                f"Received: {self.likelihood}, levels={self.levels}"
            )

    def classes(self, class_names: Sequence[str]) -> int:
        """The number of labels that a model of a dataset is conditioned on; 0 for none.

        Args:
          class_names: names of the dataset's labels.

        Raises:
          ConfigError: the model is to be conditional, and the dataset has fewer than two classes.
        """
        if self.condition == "none":
            return 0
        if len(class_names) < 2:
            names = ", ".join(class_names) or "none"
            raise ConfigError(
                f"condition {self.condition} needs a dataset of two or more classes, and this one "
                f"has {len(class_names)}: {names}; set condition to none, or prepare a dataset "
                "with labels"
            )
        return len(class_names)

    def architecture(self, image_shape: Shape, *, classes: int = 0) -> Architecture:
        """The architecture of a model.

        Args:
          image_shape: (height, width, channels) of the images.
          classes: what `classes` says of the dataset.
        """
        names = {field.name for field in dataclasses.fields(Architecture)}
        names -= {"image_shape", "widths", "classes"}
        settings = {name: getattr(self, name) for name in names}
        widths = self.widths or default_widths(self.network, image_shape)
        return Architecture(image_shape, widths=widths, classes=classes, **settings)

    def beta_warmup_of(self, total_steps: int) -> int:
        """The number of steps in which beta rises, in a run of `total_steps` steps."""
        longest = round(self.beta_warmup_share * total_steps)
        return min(self.beta_warmup_steps, longest) if self.beta_warmup_steps else longest

    def warmup_of(self, total_steps: int) -> int:
        """The number of warm-up steps in a run of `total_steps` steps."""
        return min(self.warmup_steps, round(self.warmup_share * total_steps))


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Options that do not change the result."""

    cache_bytes: int | None = option(
        None,
        "hold the training images in memory if they have at most N bytes, otherwise stream them "
        "from the shards; not given: a quarter of the free memory",
    )
    checkpoint_seconds: float = option(600.0, "seconds between checkpoints within an epoch")
    profile: int = option(
        0,
        "number of steps to trace for TensorBoard's profiler, after the first call, which runs up "
        "to --steps_per_call steps",
    )
    tracker: str = option(
        trackers.NONE,
        "experiment tracker whose store the published model is added to",
        choices=trackers.TRACKERS,
    )

    def __post_init__(self) -> None:
        _check_minimum(self, 0, ("checkpoint_seconds", "profile"))
        trackers.check_installed(self.tracker)
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
    preset: str,
    *,
    file: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    where: str = "the command line",
) -> TrainConfig:
    """The settings of a preset, overridden first by a file and then by `overrides`.

    Widths belong to a network: an override of the network takes away the widths set before it.

    Args:
      preset: name of the preset.
      file: path of a YAML file of `field: value` lines; None for no file.
      overrides: fields from the command line, as text or as values.
      where: origin of the overrides, for error messages.

    Raises:
      ConfigError: the preset, the file or a field does not exist, or a value is out of range.
    """
    if preset not in preset_names():
        raise ConfigError(f"unknown preset {preset!r}; {nearest(preset, preset_names())}")
    values = _read_preset(preset)
    origin = f"preset {preset}"
    if file is not None:
        values = _overridden(values, yaml_file.read_fields(file))
        origin = f"{origin} or {file}"
    # Checked without the overrides first, so that an error message names the right place.
    from_mapping(TrainConfig, values, where=origin)
    return from_mapping(TrainConfig, _overridden(values, overrides or {}), where=where)


def _overridden(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(values)
    if overrides.get("network", kept.get("network")) != kept.get("network"):
        kept.pop("widths", None)
    return kept | dict(overrides)


def _read_preset(preset: str) -> dict[str, Any]:
    data = resources.files("trainer.presets").joinpath(f"{preset}.yaml").read_bytes()
    return yaml_file.parse_fields(data, where=f"preset {preset}")

"""Builds the parts of a training run from a config and a prepared dataset.

On the CPU of one machine, two runs of one config and dataset are bit-identical, since everything
random depends on the seed alone: `build_model` seeds the initial weights, `Batches` the order of
the examples, and `Loop` the noise, by the number of the step. On GPUs, `claim_devices` makes
TensorFlow's operations deterministic as well.
"""

import dataclasses

import keras
import tensorflow as tf

from components.base.arithmetic import ceil_div
from components.base.shapes import Shape
from components.data import image_store
from components.data.batches import Batches
from components.data.prepared_dataset import PreparedDataset
from components.model import principal_components
from components.model.corruption import parse_corruption
from components.model.vae import VAE
from trainer import choices, memory_check
from trainer.config import TrainConfig
from trainer.devices import precision, strategy
from trainer.devices.hosts import host
from trainer.optimization.loop import Loop, StepConfig
from trainer.optimization.optimizer import Optimizer, WeightDecay
from trainer.optimization.schedules import BetaSchedule, LearningRate
from trainer.optimization.update import Update

TRAIN_SPLIT = "train"
HELDOUT_SPLIT = "validation"


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a run, and the precision of their computations.

    Attributes:
      strategy: distribution strategy over all replicas.
      precision: float32, bfloat16 or float16.
      kinds: for each replica of this host, the kind of its device: CPU or GPU.
      measured: the CPU time of a step in milliseconds, by precision, if the choice rests on it.
    """

    strategy: tf.distribute.Strategy
    precision: str
    kinds: list[str]
    measured: dict[str, float] | None = None

    @property
    def has_gpus(self) -> bool:
        """Whether the replicas of this host run on GPUs."""
        return "GPU" in self.kinds


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """The parts of a training run."""

    config: TrainConfig
    devices: Devices
    model: VAE
    batches: Batches
    loop: Loop

    @property
    def total_steps(self) -> int:
        """Number of steps of the whole run."""
        return self.config.epochs * self.batches.steps_per_epoch

    @property
    def warmup_steps(self) -> int:
        """Number of steps of the warm-up."""
        return self.config.warmup_of(self.total_steps)


def devices_for(config: TrainConfig, examples: PreparedDataset) -> Devices:
    """The devices of a run on a prepared dataset. Call it before TensorFlow runs anything.

    Raises:
      ConfigError: this host does not have the devices, cannot compute in the precision that the
        config asks for, or has too little memory; or the dataset lacks the labels that it asks for.
    """
    classes = config.classes(examples.class_names)
    devices = claim_devices(config)
    steps_per_epoch = ceil_div(examples.num_examples(TRAIN_SPLIT), config.batch_size)
    memory_check.check(
        config,
        image_shape=examples.image_shape,
        precision=devices.precision,
        kinds=devices.kinds,
        steps_per_call=min(config.steps_per_call, steps_per_epoch),
        classes=classes,
    )
    return devices


def build_run(
    config: TrainConfig,
    examples: PreparedDataset,
    *,
    devices: Devices | None = None,
    cache_bytes: int | None = None,
) -> TrainingRun:
    """Builds a run on a prepared dataset. Call it before TensorFlow runs anything.

    Args:
      config: settings of the run.
      examples: the prepared dataset; the run uses its training split.
      devices: the devices of `devices_for`; None to claim them.
      cache_bytes: largest size of a training split that is held in memory; None for a quarter of
        the free memory.

    Raises:
      ConfigError: this host does not have the devices, or cannot compute in the precision, that
        the config asks for; or the dataset lacks the labels that it asks for.
      WorkError: a shard is damaged.
    """
    devices = devices or devices_for(config, examples)
    classes = config.classes(examples.class_names)
    store = image_store.open_store(examples, TRAIN_SPLIT, cache_bytes=cache_bytes)
    labels = examples.labels(TRAIN_SPLIT) if classes else None
    batches = Batches(store, batch_size=config.batch_size, seed=config.seed, labels=labels)
    run = build_run_on(devices, config, batches, classes=classes)
    if config.linear_path == "principal_components":
        # Not in the checkpoints: a resumed run computes them again, from the same images.
        head = examples.head(
            TRAIN_SPLIT, principal_components.sufficient_images(examples.image_shape)
        )
        run.model.set_principal_components(
            principal_components.of_images(head.images, config.latents)
        )
    return run


def build_run_on(
    devices: Devices, config: TrainConfig, batches: Batches, *, classes: int = 0
) -> TrainingRun:
    """Builds a run on given devices and batches with labels below `classes`."""
    model = build_model(config, devices, batches.image_shape, classes=classes)
    total_steps = config.epochs * batches.steps_per_epoch
    step_config = StepConfig(
        update=Update(
            optimizer=_optimizer(config),
            learning_rate=_learning_rate(config, total_steps),
            clip_norm=config.clip_norm,
            ema_decay=config.ema_decay,
            loss_scale=precision.LossScale() if devices.precision == "float16" else None,
        ),
        objective=choices.OBJECTIVES[config.objective](config.objective_samples),
        beta=_beta(config, total_steps),
        free_bits=config.free_bits,
        seed=config.seed,
        corruption=parse_corruption(config.corruption),
        accumulate=config.accumulate,
        steps_per_call=min(config.steps_per_call, batches.steps_per_epoch),
        # On the CPU, XLA's convolutions are many times slower than oneDNN's.
        compiled=devices.has_gpus or not model.is_convolutional,
    )
    loop = Loop(
        strategy=devices.strategy,
        model=model,
        batches=batches,
        step_config=step_config,
        host=host(),
    )
    return TrainingRun(config, devices, model, batches, loop)


def claim_devices(config: TrainConfig) -> Devices:
    """Configures TensorFlow's devices for a run. Call it before TensorFlow runs anything.

    Raises:
      ConfigError: this host does not have the devices, or cannot compute in the precision, that
        the config asks for.
    """
    strategy.split_cpu(config.replicas)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        # Otherwise cuDNN's choice of kernel and the order of atomic adds vary between runs.
        tf.config.experimental.enable_op_determinism()
    number_type = precision.resolve(config.precision, gpus)
    replicas = strategy.create(config.replicas)
    names = replicas.extended.worker_devices
    kinds = [tf.DeviceSpec.from_string(name).device_type for name in names]
    return Devices(replicas, number_type, kinds)


def build_model(
    config: TrainConfig, devices: Devices, image_shape: Shape, *, classes: int = 0
) -> VAE:
    """Builds a VAE on every replica; its initial weights depend only on the seed."""
    keras.utils.set_random_seed(config.seed)
    with devices.strategy.scope():
        return VAE(
            **dataclasses.asdict(config.architecture(image_shape, classes=classes)),
            compute_dtype=precision.dtype_policy(devices.precision),
        )


def _optimizer(config: TrainConfig) -> Optimizer:
    rule = choices.OPTIMIZERS[config.optimizer]()
    return WeightDecay(rule, config.weight_decay) if config.weight_decay else rule


def _learning_rate(config: TrainConfig, total_steps: int) -> LearningRate:
    return choices.LEARNING_RATE_SCHEDULES[config.schedule](
        peak=config.learning_rate,
        total_steps=total_steps,
        warmup_steps=config.warmup_of(total_steps),
    )


def _beta(config: TrainConfig, total_steps: int) -> BetaSchedule:
    return choices.BETA_SCHEDULES[config.beta_schedule](
        beta=config.beta,
        total_steps=total_steps,
        warmup_steps=config.beta_warmup_of(total_steps),
        cycles=config.beta_cycles,
    )

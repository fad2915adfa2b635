"""From a config and a set of examples to the parts of a training run."""

import dataclasses

import keras
import tensorflow as tf

from components.base.shapes import Shape
from components.data import image_store
from components.data.batches import Batches
from components.data.prepared_dataset import PreparedDataset
from components.model.networks import is_convolutional
from components.model.vae import VAE
from trainer.config import TrainConfig
from trainer.devices import precision, strategy
from trainer.devices.hosts import host
from trainer.optimization import optimizer, schedules
from trainer.optimization.loop import Loop, StepConfig
from trainer.optimization.update import Update

TRAINED = "train"


@dataclasses.dataclass(frozen=True)
class Devices:
    """Where a run computes, and how exactly.

    Attributes:
      strategy: over all replicas, made before anything else.
      precision: float32, bfloat16 or float16.
      devices: the kind of each of this host's replicas' devices, CPU or GPU.
    """

    strategy: tf.distribute.Strategy
    precision: str
    devices: list[str]

    @property
    def has_gpus(self) -> bool:
        return "GPU" in self.devices


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """The parts of a training run."""

    config: TrainConfig
    machine: Devices
    model: VAE
    batches: Batches
    loop: Loop

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.batches.steps_per_epoch


def machine(config: TrainConfig) -> Devices:
    """Takes the devices. To be called before TensorFlow runs anything.

    Raises:
      ConfigError: the config asks for devices, or a precision, that are not there.
    """
    strategy.split_cpu(config.replicas)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        # Else cuDNN may choose, and atomic additions order, otherwise from run to run.
        tf.config.experimental.enable_op_determinism()
    number_type = precision.resolve(config.precision, gpus)
    mirrored = strategy.create(config.replicas)
    devices = [tf.DeviceSpec.from_string(d).device_type for d in mirrored.extended.worker_devices]
    return Devices(mirrored, number_type, devices)


def model(config: TrainConfig, machine: Devices, image_shape: Shape) -> VAE:
    """The VAE, with its first weights on every replica."""
    keras.utils.set_random_seed(config.seed)
    with machine.strategy.scope():
        return VAE(
            image_shape=image_shape,
            network=config.network,
            latents=config.latents,
            widths=config.widths,
            compute_dtype=precision.dtype_policy(machine.precision),
        )


def run(
    config: TrainConfig, examples: PreparedDataset, *, cache_bytes: int | None = None
) -> TrainingRun:
    """All parts. To be called before TensorFlow runs anything.

    Raises:
      ConfigError: the config asks for devices, or a precision, that are not there.
      WorkError: a shard is damaged.
    """
    taken = machine(config)
    store = image_store.open_store(examples, TRAINED, cache_bytes=cache_bytes)
    return run_on(taken, config, Batches(store, batch_size=config.batch_size, seed=config.seed))


def run_on(machine: Devices, config: TrainConfig, batches: Batches) -> TrainingRun:
    """The parts of a run on devices that are taken already, and on any batches."""
    vae = model(config, machine, batches.image_shape)
    total_steps = config.epochs * batches.steps_per_epoch
    steps = StepConfig(
        update=Update(
            optimizer=optimizer.create(config.optimizer, weight_decay=config.weight_decay),
            schedule=schedules.schedule(
                config.schedule,
                rate=config.learning_rate,
                total_steps=total_steps,
                warmup_steps=config.warmup_steps,
            ),
            clip_norm=config.clip_norm,
            ema_decay=config.ema_decay,
            loss_scale=precision.LossScale() if machine.precision == "float16" else None,
        ),
        beta=schedules.beta_schedule(
            config.beta_schedule,
            beta=config.beta,
            total_steps=total_steps,
            cycles=config.beta_cycles,
        ),
        free_bits=config.free_bits,
        seed=config.seed,
        accumulate=config.accumulate,
        per_call=min(config.steps_per_call, batches.steps_per_epoch),
        # XLA's convolutions on the CPU are many times slower than oneDNN's.
        compiled=machine.has_gpus or not is_convolutional(config.network),
    )
    loop = Loop(strategy=machine.strategy, model=vae, batches=batches, steps=steps, host=host())
    return TrainingRun(config, machine, vae, batches, loop)

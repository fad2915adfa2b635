"""Compares the memory that a run needs with the free memory, before the model is built."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
from tensorflow.python.client import device_lib

from components.base import console, memory
from components.base.arithmetic import ceil_div
from components.base.errors import ConfigError
from components.base.shapes import Shape, format_shape
from components.model import costs
from trainer import choices
from trainer.config import TrainConfig
from trainer.devices.hosts import host

# A compiled step does not keep the outputs of fused layers, so it needs less than the estimate, but
# hardly less than this fraction of it.
_LEAST_PART_OF_ACTIVATIONS = 0.25
# TensorFlow refuses tensors of 2^63 elements, which no smaller layers have.
_HUGE_LAYER = 1 << 16
_AT_LEAST = "at least"
_WAYS_OUT = (
    "to need less, reduce --widths, --latents, --batch_size, --steps_per_call or --replicas, "
    "increase --accumulate, or prepare smaller images with --image_size"
)


def micro_batch_size(config: TrainConfig, replicas: int) -> int:
    """Number of examples whose gradients a replica computes at once."""
    return ceil_div(config.batch_size, replicas * config.accumulate)


def replica_memory(
    model_costs: costs.Costs,
    config: TrainConfig,
    *,
    replicas: int,
    precision: str,
    steps_per_call: int,
    image_shape: Shape,
) -> costs.MemoryEstimate:
    """An estimate of the memory of one replica.

    Args:
      model_costs: costs of the model.
      config: settings of the run.
      replicas: number of replicas on all hosts.
      precision: float32, bfloat16 or float16.
      steps_per_call: number of steps whose images are on the device at once.
      image_shape: (height, width, channels) of every image.
    """
    height, width, channels = image_shape
    micro_batch = micro_batch_size(config, replicas)
    call_examples = steps_per_call * micro_batch * config.accumulate
    return costs.memory(
        model_costs,
        micro_batch=micro_batch,
        num_slots=choices.OPTIMIZERS[config.optimizer]().num_slots,
        averages=config.ema_decay > 0,
        data_bytes=call_examples * height * width * channels,
        activation_bytes=4 if precision == "float32" else 2,
    )


def check(
    config: TrainConfig,
    *,
    image_shape: Shape,
    precision: str,
    kinds: Sequence[str],
    steps_per_call: int,
    classes: int = 0,
) -> None:
    """Compares the memory that a run needs with the free memory, and warns if that is too little.

    The replicas on the CPU share the free memory of this host; each replica on a GPU has what
    TensorFlow may use of its GPU.

    Args:
      config: settings of the run.
      image_shape: (height, width, channels) of every image.
      precision: float32, bfloat16 or float16.
      kinds: for each replica of this host, the kind of its device: CPU or GPU.
      steps_per_call: number of steps whose images are on the device at once.
      classes: number of labels that the model is conditioned on.

    Raises:
      ConfigError: even the smallest possible need exceeds the memory; or the network would be too
        large for any machine.
    """
    replicas = host().count * len(kinds)
    model_costs = planned_costs(config, image_shape, classes=classes)
    need = replica_memory(
        model_costs,
        config,
        replicas=replicas,
        precision=precision,
        steps_per_call=steps_per_call,
        image_shape=image_shape,
    )
    if "GPU" in kinds:
        sharing, available, place = 1, _smallest_gpu(len(kinds)), "of memory on each GPU"
    else:
        sharing, available, place = len(kinds), memory.free_memory(), "of memory"
    if available is None or (found := shortage(need, sharing=sharing, available=available)) is None:
        return
    certainty, size = found
    message = (
        f"training needs {certainty} {memory.format_bytes(size)} {place} for "
        f"{model_costs.parameters:,} parameters and {format_shape(image_shape)} images, but "
        f"{memory.format_bytes(available)} is free; {_WAYS_OUT}"
    )
    if certainty == _AT_LEAST:
        raise ConfigError(message)
    console.warn(message)


def shortage(need: costs.MemoryEstimate, *, sharing: int, available: int) -> tuple[str, int] | None:
    """Compares the memory that replicas need with the free memory.

    Args:
      need: an estimate of the memory of one replica.
      sharing: number of replicas that share the memory.
      available: the memory, in bytes.

    Returns:
      None if it may be enough; otherwise `at least` or `about`, and the memory that the replicas
      need, in bytes.
    """
    least = dataclasses.replace(
        need, activations=int(_LEAST_PART_OF_ACTIVATIONS * need.activations)
    )
    for certainty, memory_need in ((_AT_LEAST, least), ("about", need)):
        if sharing * memory_need.total > available:
            return certainty, sharing * memory_need.total
    return None


def _smallest_gpu(count: int) -> int | None:
    """The memory that TensorFlow may use on the smallest of the first GPUs, in bytes.

    Args:
      count: number of GPUs.

    Returns:
      None if TensorFlow does not say.
    """
    limits = [
        device.memory_limit
        for device in device_lib.list_local_devices()
        if device.device_type == "GPU"
    ]
    return min(limits[:count], default=0) or None


def planned_costs(config: TrainConfig, image_shape: Shape, *, classes: int = 0) -> costs.Costs:
    """The costs of a run's model, which is not built.

    Raises:
      ConfigError: the network would be too large for any machine.
    """
    objective = choices.OBJECTIVES[config.objective](config.objective_samples)
    architecture = config.architecture(image_shape, classes=classes)
    try:
        return costs.count(architecture, objective)
    except (ValueError, OverflowError, tf.errors.InvalidArgumentError) as error:
        if max(config.latents, *architecture.widths) < _HUGE_LAYER:
            raise
        widths = ", ".join(map(str, architecture.widths))
        raise ConfigError(
            f"a network of widths {widths} and {config.latents} latents is too large for any "
            "machine; reduce --widths or --latents"
        ) from error

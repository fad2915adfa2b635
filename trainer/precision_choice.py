"""The choice of `--precision auto`, and the measurement that makes it on a CPU.

Whether bfloat16 is faster than float32 on a CPU depends on the CPU and on the model, so both are
measured. The result is kept in the user's cache: the same run then makes the same choice again.
"""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from etils import epath

from components.base import artifacts, json_types, processor, user_cache
from components.base.errors import ConfigError
from components.base.manifest import fingerprint, package_versions
from components.data.prepared_dataset import PreparedDataset
from components.model.architecture import Architecture
from components.model.objective import Objective
from components.model.vae import VAE, is_convolutional
from trainer import choices, memory_check, precision_record
from trainer.build import Devices
from trainer.config import PRECISIONS, TrainConfig
from trainer.devices import precision
from trainer.devices.collectives import HostCollectives
from trainer.devices.hosts import host
from trainer.precision_record import PrecisionRecord

# The ratio of the two times hardly depends on the number of examples, and this many take a fraction
# of a second.
_MAX_EXAMPLES = 64
_TIMED_STEPS = 3
_CPU_PRECISIONS = ("float32", "bfloat16")
_MAX_CACHED_BYTES = 4 << 10


def with_precision(
    devices: Devices,
    config: TrainConfig,
    examples: PreparedDataset,
    draft: epath.Path | None = None,
) -> Devices:
    """The devices of a run with the precision that it computes in, which all hosts share.

    With several hosts, each of them calls this function, and all take the chief's precision.

    Args:
      devices: the devices of `build.devices_for`.
      config: settings of the run.
      examples: the prepared dataset.
      draft: the chief's draft directory, for a run that is or will be resumed from it; it then
        holds the choice.

    Raises:
      ConfigError: the draft computes in float16, and this host has no GPU.
      WorkError: the record in the draft is damaged.
    """
    if config.precision != "auto":
        return devices
    record = PrecisionRecord(devices.precision)
    if host().is_chief:
        record = _chosen(devices, config, examples, draft)
    index = np.array([PRECISIONS.index(record.precision)], np.int32)
    received = HostCollectives(devices.strategy).broadcast_from_chief({"precision": index})
    return dataclasses.replace(
        devices, precision=PRECISIONS[received["precision"][0]], measured=record.measured
    )


def describe(milliseconds: Mapping[str, float]) -> str:
    """The result of a measurement in words."""
    times = [f"{number:,.1f} ms in {name}" for name, number in milliseconds.items()]
    return f"{' and '.join(times)} of CPU time"


def _chosen(
    devices: Devices, config: TrainConfig, examples: PreparedDataset, draft: epath.Path | None
) -> PrecisionRecord:
    """The choice that the draft records, or a new one, which is then recorded."""
    if draft is not None and (record := precision_record.read(draft)) is not None:
        if record.precision == "float16" and not devices.has_gpus:
            raise ConfigError(
                f"the unfinished run in {draft} computes in float16, which needs a GPU: continue "
                "it on a machine with a GPU, or start again with --overwrite"
            )
        return record
    # Earlier versions recorded and measured nothing.
    is_resumed = draft is not None and any((draft / "checkpoints").glob("step-*.ckpt"))
    record = PrecisionRecord(devices.precision)
    if not (devices.has_gpus or is_resumed):
        record = _chosen_on_cpu(config, examples)
    if draft is not None:
        precision_record.write(draft, record)
    return record


def _chosen_on_cpu(config: TrainConfig, examples: PreparedDataset) -> PrecisionRecord:
    architecture = config.architecture(
        examples.image_shape, classes=config.classes(examples.class_names)
    )
    # XLA, which compiles the other models, gains nothing from bfloat16 on CPUs.
    if not (is_convolutional(architecture) and processor.has_bfloat16()):
        return PrecisionRecord("float32")
    objective = choices.OBJECTIVES[config.objective](config.objective_samples)
    batch_size = min(_MAX_EXAMPLES, memory_check.micro_batch_size(config, 1))
    path = user_cache.directory("precision") / fingerprint(
        {
            "cpu": processor.model(),
            "cores": len(os.sched_getaffinity(0)),
            "versions": package_versions(),
            "oneDNN": os.environ.get("TF_ENABLE_ONEDNN_OPTS", ""),
            "architecture": dataclasses.asdict(architecture),
            "objective": objective.description,
            "batch_size": batch_size,
        }
    )
    milliseconds = _read_cached(path)
    if milliseconds is None:
        milliseconds = measure(architecture, objective, batch_size=batch_size)
        # Without a cache, every run measures.
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with artifacts.atomic_write(path) as temporary:
                temporary.write_text(json.dumps(milliseconds))
    return PrecisionRecord(precision.fastest_on_cpu(milliseconds), milliseconds)


def measure(
    architecture: Architecture, objective: Objective, *, batch_size: int
) -> dict[str, float]:
    """The CPU time of a step without its update, in milliseconds, by precision.

    CPU time, over all cores, does not depend on what else the machine does.

    Args:
      architecture: the model.
      objective: what is computed for each example.
      batch_size: number of examples.
    """
    steps = {
        name: _step(architecture, objective, batch_size=batch_size, precision_name=name)
        for name in _CPU_PRECISIONS
    }
    for step in steps.values():
        step().numpy()  # The first call builds the graph, and the second one its kernels.
        step().numpy()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(_TIMED_STEPS):
        for name, step in steps.items():
            start = time.process_time()
            step().numpy()
            times[name].append(time.process_time() - start)
    return {name: round(1e3 * min(seconds), 3) for name, seconds in times.items()}


def _step(
    architecture: Architecture, objective: Objective, *, batch_size: int, precision_name: str
) -> tf.types.experimental.PolymorphicFunction:
    """A function that computes the gradients of a batch, and returns a sum over them."""
    model = VAE(
        **dataclasses.asdict(architecture), compute_dtype=precision.dtype_policy(precision_name)
    )
    images = tf.random.stateless_uniform([batch_size, *architecture.image_shape], seed=(0, 0))
    noise = tf.random.stateless_normal([batch_size, objective.samples * model.latents], (0, 1))
    labels = tf.zeros([batch_size], tf.int32)

    @tf.function(autograph=False)
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = objective(model, images, noise, labels, beta=tf.ones([]), free_bits=0.0)
            loss = tf.reduce_mean(losses.loss)
        gradients = tape.gradient(loss, model.trainable_variables)
        return tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])

    return step


def _read_cached(path: epath.Path) -> dict[str, float] | None:
    """The measurement in a file; None if there is no usable one."""
    try:
        value = json_types.load(path, max_bytes=_MAX_CACHED_BYTES)
        milliseconds = json_types.parse(dict[str, float], value)
    except (OSError, ValueError):
        return None
    is_usable = milliseconds.keys() == set(_CPU_PRECISIONS) and min(milliseconds.values()) > 0
    return milliseconds if is_usable else None

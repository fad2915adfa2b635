"""The distribution strategy, which runs a training step on several replicas.

This is the only module that creates one.
"""

import contextlib
import functools

import tensorflow as tf

from components.base.errors import ConfigError
from trainer.devices.hosts import host


def create(replicas: int) -> tf.distribute.Strategy:
    """A strategy over this host's devices, and over all hosts that TF_CONFIG lists.

    Each replica holds a copy of the model and computes its share of every batch. On one host this
    is a MirroredStrategy, on several a MultiWorkerMirroredStrategy. Call it before TensorFlow runs
    anything: devices cannot be configured later.

    Args:
      replicas: number of GPUs to use on each host, or of logical CPU devices if there is no GPU;
        0 for all GPUs, or one CPU device.

    Raises:
      ConfigError: there are fewer devices, or TF_CONFIG is malformed.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and replicas > len(gpus):
        raise ConfigError(f"replicas={replicas}, but there are only {len(gpus)} GPUs")
    # The calling program may have used TensorFlow before, which fixes the devices.
    with contextlib.suppress(RuntimeError):
        for gpu in gpus:
            # Otherwise TensorFlow claims all memory of every GPU that it sees.
            tf.config.experimental.set_memory_growth(gpu, True)
    if host().count > 1:
        return _create_multi_host(replicas, gpus)
    if gpus:
        return _mirrored("GPU", replicas or len(gpus))
    count = replicas or 1
    if len(tf.config.list_logical_devices("CPU")) < count:
        raise ConfigError(
            f"TensorFlow has started with fewer than {count} CPU devices; choose fewer replicas, "
            "or start a new process"
        )
    return _mirrored("CPU", count)


@functools.cache
def _mirrored(kind: str, count: int) -> tf.distribute.Strategy:
    """The strategy over the first devices of a kind: always the same one.

    Two strategies on the same devices would give their collective operations the same keys, so that
    operations of one could be matched with operations of the other.
    """
    return tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(count)])


def _create_multi_host(replicas: int, gpus: list) -> tf.distribute.Strategy:
    # This strategy takes every visible GPU, so the others are hidden.
    if gpus and replicas:
        tf.config.set_visible_devices(gpus[:replicas], "GPU")
    elif replicas > 1:
        raise ConfigError(
            f"replicas={replicas} on {host().count} hosts without GPUs: each has one replica; "
            "leave out --replicas"
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def split_cpu(devices: int) -> None:
    """Divides the CPU into several logical devices, if there is no GPU.

    Call it before TensorFlow runs anything.
    """
    if devices > 1 and not tf.config.list_physical_devices("GPU"):
        # `create` says what is missing if TensorFlow has started already.
        with contextlib.suppress(RuntimeError):
            tf.config.set_logical_device_configuration(
                tf.config.list_physical_devices("CPU")[0],
                [tf.config.LogicalDeviceConfiguration()] * devices,
            )

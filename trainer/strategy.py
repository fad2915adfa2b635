"""The distribution strategy: the only place that makes one."""

import tensorflow as tf

from components.errors import ConfigError


def create(replicas: int) -> tf.distribute.MirroredStrategy:
    """A MirroredStrategy over the first `replicas` GPUs, or over as many logical CPU devices.

    With 0, over all GPUs, or one CPU device. To be called before TensorFlow runs anything.

    Raises:
      ConfigError: there are fewer GPUs.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if replicas > len(gpus):
            raise ConfigError(f"replicas={replicas}, but there are {len(gpus)} GPUs")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        names = [f"GPU:{index}" for index in range(replicas or len(gpus))]
    else:
        names = [f"CPU:{index}" for index in range(replicas or 1)]
        if len(tf.config.list_logical_devices("CPU")) < len(names):
            raise ConfigError(f"TensorFlow has started with fewer than {len(names)} CPU devices")
    return tf.distribute.MirroredStrategy(names)


def split_cpu(devices: int) -> None:
    """Makes the CPU stand as several logical devices, where there is no GPU."""
    if devices > 1 and not tf.config.list_physical_devices("GPU"):
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * devices,
        )

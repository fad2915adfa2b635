"""The distribution strategy: the only place that makes one, and how its hosts agree."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from components.base.errors import ConfigError
from trainer.devices.hosts import host


def create(replicas: int) -> tf.distribute.Strategy:
    """A strategy over the first `replicas` GPUs of each host, or over as many logical CPU devices.

    With 0, over all GPUs, or one CPU device. A MirroredStrategy, or over the hosts that TF_CONFIG
    names a MultiWorkerMirroredStrategy. To be called before TensorFlow runs anything.

    Raises:
      ConfigError: there are fewer GPUs, or TF_CONFIG is wrong.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and replicas > len(gpus):
        raise ConfigError(f"replicas={replicas}, but there are {len(gpus)} GPUs")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if host().count > 1:
        if gpus and replicas:
            tf.config.set_visible_devices(gpus[:replicas], "GPU")
        elif replicas > 1:
            raise ConfigError(
                f"replicas={replicas} on {host().count} hosts without GPUs: each has one replica; "
                "leave --replicas out"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if gpus:
        return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(replicas or len(gpus))])
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


class Agreement:
    """How the hosts of a strategy agree. All must ask the same things in the same order.

    Args:
      strategy: theirs.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._host = host()
        self._local_replicas = strategy.num_replicas_in_sync // self._host.count

        @tf.function(reduce_retracing=True, autograph=False)
        def total(values: tf.Tensor) -> tf.Tensor:
            def reduce(own):
                # The sum comes to lie where its terms do, and an argument lies nowhere yet.
                own = tf.identity(own)
                return tf.distribute.get_replica_context().all_reduce("SUM", own)

            return strategy.experimental_local_results(strategy.run(reduce, args=(values,)))[0]

        self._total = total

    def any(self, wish: bool) -> bool:
        """Whether one host at least wishes so."""
        if self._host.count == 1:
            return wish
        return bool(self._total(tf.constant([float(wish)])).numpy()[0])

    def from_chief(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The chief's arrays, to the bit; the other hosts give theirs for names and shapes."""
        if self._host.count == 1:
            return dict(arrays)
        parts = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        # As pairs of bytes, which float32 holds exactly and every device can add up.
        halves = np.concatenate([part.reshape(-1).view(np.uint16) for part in parts.values()])
        # Every replica adds its host's; each host has as many.
        own = halves if self._host.is_chief else np.zeros_like(halves)
        total = self._total(tf.constant(own.astype(np.float32))).numpy()
        total = (total / self._local_replicas).astype(np.uint16)
        ends = np.cumsum([part.nbytes // 2 for part in parts.values()])
        return {
            name: each.view(part.dtype).reshape(part.shape)
            for (name, part), each in zip(parts.items(), np.split(total, ends[:-1]), strict=True)
        }

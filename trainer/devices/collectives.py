"""Collective operations between the hosts of a run: a common decision, and a broadcast."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from trainer.devices.hosts import host


class HostCollectives:
    """Exchanges values between hosts.

    An operation ends only when every host has called it, so all hosts must call the same operations
    in the same order. On a single host they return at once.

    Args:
      strategy: the distribution strategy over all hosts.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._host = host()
        self._local_replicas = strategy.num_replicas_in_sync // self._host.count

        @tf.function(reduce_retracing=True, autograph=False)
        def sum_over_replicas(values: tf.Tensor) -> tf.Tensor:
            def reduce(values):
                # `all_reduce` places its result with its input; a function argument has no device
                # yet.
                values = tf.identity(values)
                return tf.distribute.get_replica_context().all_reduce("SUM", values)

            return strategy.experimental_local_results(strategy.run(reduce, args=(values,)))[0]

        self._sum_over_replicas = sum_over_replicas

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on at least one host."""
        if self._host.count == 1:
            return flag
        return bool(self._sum_over_replicas(tf.constant([float(flag)])).numpy()[0])

    def barrier(self) -> None:
        """Waits until every host has come this far."""
        self.any(False)

    def broadcast_from_chief(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the chief's arrays on every host, bit for bit.

        Args:
          arrays: on the chief, the arrays to send; on the other hosts, arrays of the same names,
            types and shapes, whose values are ignored. Element types have an even number of bytes.
        """
        if self._host.count == 1:
            return dict(arrays)
        parts = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        # The sum over replicas must not change a bit of any type, so arrays are sent as pairs of
        # bytes: integers below 2^16 are exact in float32, which every device can add.
        words = np.concatenate([part.reshape(-1).view(np.uint16) for part in parts.values()])
        contribution = words if self._host.is_chief else np.zeros_like(words)
        total = self._sum_over_replicas(tf.constant(contribution.astype(np.float32))).numpy()
        # Each of the chief's replicas contributed the same words.
        received = (total / self._local_replicas).astype(np.uint16)
        ends = np.cumsum([part.nbytes // 2 for part in parts.values()])
        pieces = np.split(received, ends[:-1])
        return {
            name: piece.view(part.dtype).reshape(part.shape)
            for (name, part), piece in zip(parts.items(), pieces, strict=True)
        }

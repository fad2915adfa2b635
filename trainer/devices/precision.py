"""Mixed precision: the number type of the inner layers, and the loss scale for float16."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from components.base.errors import ConfigError

# Ampere is the first architecture with bfloat16 arithmetic.
_BFLOAT16_CAPABILITY = (8, 0)
# A smaller gain is not worth the rounding, and may be an error of the measurement.
_LEAST_GAIN = 1.05


def resolve(precision: str, gpus: list) -> str:
    """The precision to use: `float32`, `bfloat16` or `float16`.

    Args:
      precision: one of those, or `auto` for the best one that every GPU supports, and float32
        without a GPU; `fastest_on_cpu` decides whether bfloat16 is faster on a CPU.
      gpus: this host's physical GPUs.

    Raises:
      ConfigError: float16 without a GPU.
    """
    if precision == "auto":
        return _fastest(gpus)
    if precision == "float16" and not gpus:
        raise ConfigError(
            "precision float16 needs a GPU: CPUs compute it several times slower than float32; "
            "use float32, bfloat16 or auto"
        )
    return precision


def _fastest(gpus: list) -> str:
    if not gpus:
        return "float32"
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        for gpu in gpus
    ]
    return "bfloat16" if min(capabilities) >= _BFLOAT16_CAPABILITY else "float16"


def fastest_on_cpu(milliseconds: Mapping[str, float]) -> str:
    """The precision to use on a CPU: float32, or bfloat16 if it is clearly faster.

    Args:
      milliseconds: the time of a step, by precision.
    """
    gain = milliseconds["float32"] / milliseconds["bfloat16"]
    return "bfloat16" if gain >= _LEAST_GAIN else "float32"


def dtype_policy(precision: str) -> str:
    """The Keras dtype policy: weights in float32, layers that compute in `precision`."""
    return precision if precision == "float32" else f"mixed_{precision}"


@dataclasses.dataclass(frozen=True)
class LossScale:
    """Dynamic loss scaling (Micikevicius et al., 2018).

    The loss is multiplied by the scale so that small gradients do not underflow in float16. The
    scale is halved when a gradient overflows, and doubled after `growth_steps` steps in which none
    did.

    Attributes:
      initial: scale of the first step.
      growth_steps: steps without overflow before the scale is doubled.
    """

    initial: float = 2.0**15
    growth_steps: int = 2000

    def update(
        self, scale: tf.Tensor, good_steps: tf.Tensor, finite: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The next scale and number of good steps.

        Args:
          scale: the scale of this step.
          good_steps: steps without overflow since the scale last changed.
          finite: whether all gradients of this step are finite.
        """
        is_due = good_steps + 1 >= self.growth_steps
        next_scale = tf.where(is_due, scale * 2, scale)
        next_steps = tf.where(is_due, 0, good_steps + 1)
        halved = tf.maximum(scale / 2, 1.0)
        return tf.where(finite, next_scale, halved), tf.where(finite, next_steps, 0)

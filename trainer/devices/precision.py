"""Mixed precision: which number type the inner layers use, and the loss scale of float16."""

import dataclasses

import tensorflow as tf

from components.base.errors import ConfigError

_BFLOAT16_CAPABILITY = (8, 0)  # Ampere


def resolve(precision: str, gpus: list) -> str:
    """The precision to use: `float32`, `bfloat16` or `float16`.

    Raises:
      ConfigError: float16 without a GPU.
    """
    if precision == "auto":
        return _best(gpus)
    if precision == "float16" and not gpus:
        raise ConfigError(
            "precision float16 needs a GPU: CPUs compute it several times slower than float32; "
            "use float32, bfloat16 or auto"
        )
    return precision


def _best(gpus: list) -> str:
    if not gpus:
        return "float32"
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        for gpu in gpus
    ]
    return "bfloat16" if min(capabilities) >= _BFLOAT16_CAPABILITY else "float16"


def dtype_policy(precision: str) -> str:
    """The Keras dtype policy: weights in float32, layers computing in `precision`."""
    return precision if precision == "float32" else f"mixed_{precision}"


@dataclasses.dataclass(frozen=True)
class LossScale:
    """Dynamic loss scaling (Micikevicius et al., 2018): halved where a gradient overflows, doubled
    after `growth_steps` steps without."""

    initial: float = 2.0**15
    growth_steps: int = 2000

    def update(
        self, scale: tf.Tensor, good_steps: tf.Tensor, finite: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The next scale and count of good steps, given whether the gradients are finite."""
        grown = good_steps + 1 >= self.growth_steps
        next_scale = tf.where(grown, scale * 2, scale)
        next_steps = tf.where(grown, 0, good_steps + 1)
        halved = tf.maximum(scale / 2, 1.0)
        return tf.where(finite, next_scale, halved), tf.where(finite, next_steps, 0)

import pytest
import tensorflow as tf

from components.base.errors import ConfigError
from trainer.devices import precision


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of a given compute capability, as far as the choice of a precision can see."""

    def of(*capability: int) -> list[str]:
        monkeypatch.setattr(
            tf.config.experimental,
            "get_device_details",
            lambda _: {"compute_capability": capability},
        )
        return ["gpu"]

    return of


def test_auto_takes_the_best_each_device_has(gpu):
    assert precision.resolve("auto", []) == "float32"
    assert precision.resolve("auto", gpu(9, 0)) == "bfloat16"
    assert precision.resolve("auto", gpu(7, 5)) == "float16"


def test_float16_on_the_cpu_is_refused_with_the_reason(gpu):
    with pytest.raises(ConfigError, match="float16 needs a GPU: CPUs compute it several times"):
        precision.resolve("float16", [])
    assert precision.resolve("float16", gpu(9, 0)) == "float16"
    assert precision.resolve("bfloat16", []) == "bfloat16"


def test_the_policy_keeps_weights_in_float32():
    assert precision.dtype_policy("float32") == "float32"
    assert precision.dtype_policy("bfloat16") == "mixed_bfloat16"


def test_the_loss_scale_halves_on_overflow_and_doubles_after_good_steps():
    loss_scale = precision.LossScale(initial=8.0, growth_steps=2)
    scale, good = tf.constant(8.0), tf.constant(0)
    seen = []
    for finite in (True, True, True, False, True, True):
        scale, good = loss_scale.update(scale, good, tf.constant(finite))
        seen.append(float(scale))
    assert seen == [8, 16, 16, 8, 8, 16]


def test_the_loss_scale_never_falls_under_one():
    scale, _ = precision.LossScale().update(tf.constant(1.0), tf.constant(5), tf.constant(False))
    assert float(scale) == 1.0

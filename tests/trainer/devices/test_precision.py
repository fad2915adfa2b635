import pytest
import tensorflow as tf

from components.base.errors import ConfigError
from trainer.devices import precision


@pytest.fixture
def gpus(monkeypatch):
    """Returns a function that pretends there is a GPU of a compute capability."""

    def with_capability(*capability: int) -> list[str]:
        monkeypatch.setattr(
            tf.config.experimental,
            "get_device_details",
            lambda _: {"compute_capability": capability},
        )
        return ["gpu"]

    return with_capability


def test_auto_chooses_by_the_compute_capability(gpus):
    assert precision.resolve("auto", []) == "float32"
    assert precision.resolve("auto", gpus(9, 0)) == "bfloat16"
    assert precision.resolve("auto", gpus(7, 5)) == "float16"


def test_float16_without_a_gpu_is_rejected(gpus):
    with pytest.raises(ConfigError, match="float16 needs a GPU: CPUs compute it several times"):
        precision.resolve("float16", [])
    assert precision.resolve("float16", gpus(9, 0)) == "float16"
    assert precision.resolve("bfloat16", []) == "bfloat16"


@pytest.mark.parametrize(
    ("float32", "bfloat16", "expected"),
    [(106.0, 100.0, "bfloat16"), (104.0, 100.0, "float32"), (10.0, 100.0, "float32")],
)
def test_bfloat16_must_be_clearly_faster(float32, bfloat16, expected):
    assert precision.fastest_on_cpu({"float32": float32, "bfloat16": bfloat16}) == expected


def test_the_dtype_policy_keeps_weights_in_float32():
    assert precision.dtype_policy("float32") == "float32"
    assert precision.dtype_policy("bfloat16") == "mixed_bfloat16"


def test_the_loss_scale_halves_on_overflow_and_doubles_after_good_steps():
    loss_scale = precision.LossScale(initial=8.0, growth_steps=2)
    scale, good_steps = tf.constant(8.0), tf.constant(0)
    scales = []
    for finite in (True, True, True, False, True, True):
        scale, good_steps = loss_scale.update(scale, good_steps, tf.constant(finite))
        scales.append(float(scale))
    assert scales == [8, 16, 16, 8, 8, 16]


def test_the_loss_scale_is_at_least_1():
    scale, _ = precision.LossScale().update(tf.constant(1.0), tf.constant(5), tf.constant(False))
    assert float(scale) == 1.0

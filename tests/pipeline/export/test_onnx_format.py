import numpy as np
import pytest
import tensorflow as tf

from pipeline.export.served_model import ServedModel, Signature
from tests.pipeline.export.exported_models import (
    EXPORTED,
    assert_computes_what_the_model_does,
    made,
)

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("tf2onnx", reason="the extra `export` is not installed")

from pipeline.export import onnx_format


@pytest.mark.parametrize("name", EXPORTED)
def test_onnx_runtime_computes_what_the_model_does(name):
    assert_computes_what_the_model_does(onnx_format, made(name))


class SmallNumbers(ServedModel):
    """A model whose only signature is e^x - 1."""

    def portable_signatures(self) -> dict[str, Signature]:
        inputs = {"x": tf.TensorSpec([None], tf.float32)}
        return {"expm1": Signature(inputs, lambda x: {"y": tf.math.expm1(x)})}


def test_expm1_keeps_the_digits_of_small_numbers():
    served = SmallNumbers(made("first"))
    x = np.float32([-20, -1, -1e-6, 0, 1e-20, 1e-3, 2])
    found = onnx_format.load(onnx_format.convert(served, "expm1"))({"x": x})["y"]
    np.testing.assert_allclose(found, np.expm1(x.astype(np.float64)), rtol=1e-6)

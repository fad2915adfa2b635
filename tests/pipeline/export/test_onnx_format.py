import numpy as np
import pytest
import tensorflow as tf

from pipeline.export.served_model import ServedModel, Signature
from tests.pipeline.export.exported_models import (
    EXPORTED,
    assert_close,
    images_of,
    labels_of,
    latents_of,
    made,
)

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("tf2onnx", reason="the extra `export` is not installed")

from pipeline.export import onnx_format


@pytest.mark.parametrize("name", EXPORTED)
def test_onnx_runtime_computes_what_the_model_does(name):
    model = made(name)
    given = {"images": images_of(model), "latents": latents_of(model)}
    if (labels := labels_of(model)) is not None:
        given["labels"] = labels
    for signature in ServedModel(model).portable_signatures().values():
        inputs = {key: given[key] for key in signature.inputs}
        function = onnx_format.load(onnx_format.convert(signature))
        expected = signature.function()[0](*map(tf.constant, inputs.values()))
        for count in (5, 1):
            found = function({key: value[:count] for key, value in inputs.items()})
            assert found.keys() == expected.keys()
            for key, value in found.items():
                assert_close(value, expected[key].numpy()[:count])


def test_expm1_keeps_the_digits_of_small_numbers():
    signature = Signature(
        {"x": tf.TensorSpec([None], tf.float32)}, lambda x: {"y": tf.math.expm1(x)}
    )
    x = np.float32([-20, -1, -1e-6, 0, 1e-20, 1e-3, 2])
    found = onnx_format.load(onnx_format.convert(signature))({"x": x})["y"]
    np.testing.assert_allclose(found, np.expm1(x.astype(np.float64)), rtol=1e-6)

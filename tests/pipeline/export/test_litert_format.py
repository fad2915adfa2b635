import pytest
import tensorflow as tf

from pipeline.export.served_model import ServedModel
from tests.pipeline.export.exported_models import (
    EXPORTED,
    assert_close,
    images_of,
    labels_of,
    latents_of,
    made,
)

pytest.importorskip("ai_edge_litert", reason="the extra `export` is not installed")

from pipeline.export import litert_format


@pytest.mark.parametrize("name", EXPORTED)
def test_litert_computes_what_the_model_does(name):
    model = made(name)
    given = {"images": images_of(model), "latents": latents_of(model)}
    if (labels := labels_of(model)) is not None:
        given["labels"] = labels
    served = ServedModel(model)
    for key, signature in served.portable_signatures().items():
        inputs = {each: given[each] for each in signature.inputs}
        function = litert_format.load(litert_format.convert(served, key, signature))
        expected = signature.function()[0](*map(tf.constant, inputs.values()))
        for count in (5, 1):
            found = function({each: value[:count] for each, value in inputs.items()})
            assert found.keys() == expected.keys()
            for each, value in found.items():
                assert_close(value, expected[each].numpy()[:count])

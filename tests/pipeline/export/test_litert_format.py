import pytest

from tests.pipeline.export.exported_models import (
    EXPORTED,
    assert_computes_what_the_model_does,
    made,
)

pytest.importorskip("ai_edge_litert", reason="the extra `export` is not installed")

from pipeline.export import litert_format


@pytest.mark.parametrize("name", EXPORTED)
def test_litert_computes_what_the_model_does(name):
    assert_computes_what_the_model_does(litert_format, made(name))

import pytest
from etils import epath

from pipeline.export import portable_file
from pipeline.export.config import LITERT, ONNX
from pipeline.export.served_model import ServedModel
from tests.pipeline.export.exported_models import assert_close, images_of, made

PACKAGES = {ONNX: ("onnxruntime", "tf2onnx"), LITERT: ("ai_edge_litert",)}


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_file_is_written_and_gives_a_function_without_messages(kind, tmp_path, capfd):
    for package in PACKAGES[kind]:
        pytest.importorskip(package, reason="the extra `export` is not installed")
    model = made("first")
    path = epath.Path(tmp_path / "encoder")
    function = portable_file.write(kind, path, ServedModel(model), "encode")
    assert capfd.readouterr().err == ""
    assert path.stat().length > 0
    images = images_of(model)
    expected = ServedModel(model).encode(images)
    found = function({"images": images})
    assert found.keys() == expected.keys()
    assert_close(found["mean"], expected["mean"].numpy())

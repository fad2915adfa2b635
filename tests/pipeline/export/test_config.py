import pytest

from components.base.config import from_mapping
from components.base.errors import ConfigError
from pipeline.export.config import ExportConfig, decoder_file, encoder_file


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ("", ()),
        ("litert", ("litert",)),
        ("litert, keras,litert", ("keras", "litert")),
        ("onnx,litert,keras", ("keras", "onnx", "litert")),
    ],
)
def test_the_same_formats_are_the_same_config(given, chosen):
    config = from_mapping(ExportConfig, {"formats": given}, where="a test")
    assert config.chosen_formats == chosen
    assert config.as_json() == {"formats": list(chosen), "background": "black"}


def test_an_unknown_format_is_an_error_with_the_nearest_one():
    with pytest.raises(ConfigError, match="unknown format 'onx' in formats; nearest: onnx"):
        ExportConfig(formats="keras,onx")


def test_an_unknown_background_is_an_error():
    with pytest.raises(ConfigError, match="background in a test must be one of black, white"):
        from_mapping(ExportConfig, {"background": "gray"}, where="a test")


def test_encoder_and_decoder_have_a_file_each():
    assert (encoder_file("litert"), decoder_file("onnx")) == ("encoder.tflite", "decoder.onnx")

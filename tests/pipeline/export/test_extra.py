import importlib.util

import pytest

from components.base.errors import ConfigError
from pipeline.export.extra import check_installed


def test_formats_of_the_project_itself_need_no_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_installed(["keras"])


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (["keras", "onnx"], "format onnx needs onnxruntime, tf2onnx, .* or `pip install"),
        (["litert"], r"needs ai-edge-litert, .*make export-extra.*`pip install ai-edge-litert`$"),
    ],
)
def test_a_missing_package_is_an_error_with_the_command_that_installs_it(
    formats, message, monkeypatch
):
    present = {"onnx"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in present or None)
    with pytest.raises(ConfigError, match=message) as caught:
        check_installed(formats)
    assert "\n" not in str(caught.value)


def test_installed_packages_are_found(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    check_installed(["onnx", "litert"])

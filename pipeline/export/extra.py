"""The packages of the extra `export`, which ONNX and LiteRT files need."""

import importlib.util
from collections.abc import Iterable

from components.base.errors import ConfigError
from pipeline.export.config import LITERT, ONNX

# By format: the modules, and the packages that they are in.
_NEEDED = {
    ONNX: {"onnx": "onnx", "onnxruntime": "onnxruntime", "tf2onnx": "tf2onnx"},
    LITERT: {"ai_edge_litert": "ai-edge-litert"},
}


def check_installed(formats: Iterable[str]) -> None:
    """Checks that the packages of the formats are installed, without importing them.

    Raises:
      ConfigError: some are not; the message has the command that installs them.
    """
    for name in formats:
        missing = [
            package
            for module, package in _NEEDED.get(name, {}).items()
            if importlib.util.find_spec(module) is None
        ]
        if missing:
            raise ConfigError(
                f"format {name} needs {', '.join(missing)}, which the extra `export` installs: "
                f"run `make export-extra`, or `pip install {' '.join(missing)}`"
            )

"""Writes files of a signature for other runtimes, and loads them there."""

import importlib
from typing import Protocol, cast

from etils import epath

from components.base import console
from pipeline.export.config import LITERT, ONNX
from pipeline.export.self_check import Function
from pipeline.export.served_model import ServedModel

# Modules with the members of `PortableFormat`; the packages that they import are an extra.
_MODULES = {
    ONNX: "pipeline.export.onnx_format",
    LITERT: "pipeline.export.litert_format",
}


class PortableFormat(Protocol):
    """A format of one function."""

    def convert(self, served: ServedModel, name: str) -> bytes:
        """The file of a portable signature of a model.

        Inputs and outputs keep their names, and the batch has any size.
        """

    def load(self, data: bytes) -> Function:
        """The function of such a file, run on the CPU."""


def write(kind: str, path: epath.Path, served: ServedModel, name: str) -> Function:
    """Writes a signature of a model to a file.

    Args:
      kind: the format, ONNX or LITERT.
      path: the file.
      served: the model.
      name: name of one of its portable signatures.

    Returns:
      The function that the runtime of the format loads from the file.
    """
    # The libraries print messages.
    with console.hidden_stderr():
        portable = cast(PortableFormat, importlib.import_module(_MODULES[kind]))
        path.write_bytes(portable.convert(served, name))
        return portable.load(path.read_bytes())

"""The settings of the export stage."""

import dataclasses
from typing import Any

from components.base.config import option
from components.base.errors import ConfigError, nearest
from components.ingest.conversion import BACKGROUNDS

KERAS, ONNX, LITERT = "keras", "onnx", "litert"
FORMATS = (KERAS, ONNX, LITERT)

# The place of the SavedModel: the first version of a model of TensorFlow Serving.
SAVED_MODEL = "saved_model/1"


def encoder_file(name: str) -> str:
    """The file of the encoder in a format."""
    return f"encoder{_SUFFIXES[name]}"


def decoder_file(name: str) -> str:
    """The file of the decoder in a format."""
    return f"decoder{_SUFFIXES[name]}"


_SUFFIXES = {KERAS: ".keras", ONNX: ".onnx", LITERT: ".tflite"}


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Settings of the export."""

    formats: str = option(
        KERAS,
        "formats of encoder and decoder besides the SavedModel, separated by commas: keras, onnx, "
        "litert; the last two need the packages of the extra `export`",
    )
    background: str = option(
        "black",
        "color that transparent pixels of encoded images are blended with: that of prepare",
        choices=tuple(BACKGROUNDS),
    )

    def __post_init__(self) -> None:
        for name in self.chosen_formats:
            if name not in FORMATS:
                raise ConfigError(f"unknown format {name!r} in formats; {nearest(name, FORMATS)}")

    @property
    def chosen_formats(self) -> tuple[str, ...]:
        """The formats, each once, in the order of `FORMATS`; unknown ones come last."""
        given = {name.strip() for name in self.formats.split(",")} - {""}
        return tuple(name for name in FORMATS if name in given) + tuple(sorted(given - {*FORMATS}))

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON values, for the manifest."""
        return {"formats": list(self.chosen_formats), "background": self.background}

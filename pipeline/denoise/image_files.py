"""Denoised images as PNG files: an application of a model for the denoise stage."""

import dataclasses
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath
from PIL import Image

from components.base import artifacts, files
from components.base.errors import WorkError
from components.base.manifest import OutputRecord
from components.data.examples import ExampleBatch, hash_ids
from pipeline.apply.engine import ShardTask, mapped_ahead
from pipeline.denoise.config import DenoiseConfig

if TYPE_CHECKING:
    from components.model.denoise import Denoised
    from components.model.vae import VAE

# The folders of an artifact.
IMAGES, SAMPLES, UNCERTAINTY = "images", "samples", "uncertainty"
# The largest standard deviation of values in [0, 1]; it is white in an image of uncertainty.
LARGEST_DEVIATION = 0.5
_SUFFIX = ".png"
_MAX_NAME_BYTES = 200


@dataclasses.dataclass(frozen=True)
class DenoisedFiles:
    """One PNG file for each example or, with samples and uncertainty, several.

    Attributes:
      config: the settings.
      uncertainty: whether to write images of the uncertainty.
    """

    config: DenoiseConfig
    uncertainty: bool

    def settings(self) -> dict[str, Any]:
        """See `Application.settings`."""
        return dataclasses.asdict(self)

    def open(self, vae: "VAE") -> "OpenFiles":
        """See `Application.open`."""
        return OpenFiles(self, vae)

    def read_ids(self, task: ShardTask) -> None:
        """None: a file has a name instead of an id. See `Application.read_ids`."""


class OpenFiles:
    """Files whose model is in memory."""

    def __init__(self, settings: DenoisedFiles, vae: "VAE"):
        self._settings = settings
        self._vae = vae

    def write(self, task: ShardTask, blocks: Iterator[ExampleBatch]) -> dict[str, OutputRecord]:
        """See `OpenApplication.write`."""
        written: dict[str, OutputRecord] = {}
        for block, denoised in mapped_ahead(self._denoised, blocks):
            for row, example_id in enumerate(block.ids):
                name = file_name(example_id, where=task.shard)
                for path, pixels in self._files(name, row, denoised):
                    written[path] = _write(task.directory / path, pixels)
        return written

    def _denoised(self, block: ExampleBatch) -> tuple[ExampleBatch, "Denoised"]:
        # Imports TensorFlow, which the launcher of a job on a cluster does not need.
        from components.model.denoise import denoise

        config = self._settings.config
        return block, denoise(
            self._vae,
            block.images,
            hash_ids(block.ids),
            samples=config.samples,
            kept=config.sample,
        )

    def _files(self, name: str, row: int, denoised: "Denoised") -> Iterator[tuple[str, np.ndarray]]:
        """Yields the path and the pixels of each file of an image."""
        yield f"{IMAGES}/{name}{_SUFFIX}", denoised.mean[row]
        for number, draw in enumerate(denoised.draws[row], start=1):
            yield f"{SAMPLES}/{name}/{number}{_SUFFIX}", draw
        if self._settings.uncertainty:
            yield f"{UNCERTAINTY}/{name}{_SUFFIX}", denoised.deviation[row] / LARGEST_DEVIATION


def file_name(example_id: str, *, where: str) -> str:
    """The path of an image's file without its ending: `a/b.png` -> `a/b`.

    Endings other than that of PNG are kept, so that `b.png` and `b.jpg` get different files.

    Args:
      example_id: the id of the example.
      where: the file that holds the example, for the message.

    Raises:
      WorkError: the id is not a path below a directory.
    """
    name = example_id[: -len(_SUFFIX)] if example_id.endswith(_SUFFIX) else example_id
    parts = name.split("/")
    is_safe = name.isprintable() and "\\" not in name
    for part in parts:
        is_safe &= part not in ("", ".", "..") and len(part.encode()) <= _MAX_NAME_BYTES
    if not is_safe:
        raise WorkError(
            f"{where} holds an example with the id {example_id!r}, which cannot "
            "be the name of a file; rename the image, and prepare the images again"
        )
    return name


def _write(path: epath.Path, intensities: np.ndarray) -> OutputRecord:
    """Writes an image in [0, 1], [height, width, channels], as a PNG file."""
    pixels = np.rint(np.clip(intensities, 0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    data = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    with artifacts.atomic_write(path) as temporary:
        temporary.write_bytes(data)
        digest = files.sha256(temporary, sync=True)
    return OutputRecord(len(data), digest)

"""The query of a search: a row of the tables, or an image file, which the model encodes."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from etils import epath

from components.base import files, tensorflow_setup
from components.base.errors import ConfigError
from components.base.manifest import Artifact, Input, load_artifact
from components.ingest import image_file
from components.ingest.conversion import Conversion
from components.model import model_file
from components.model.registry import MODEL_FILE
from pipeline.neighbours.tables import EmbeddingRows


@dataclasses.dataclass(frozen=True)
class SearchPoint:
    """A point in the latent space to look for the neighbors of.

    Attributes:
      mean: the embedding, float32, shape [latents].
      row: number of its row, which is not its own neighbor; None if it has none.
      pixels: the image of an image file, uint8 [height, width, channels]; None for a row.
    """

    mean: np.ndarray
    row: int | None = None
    pixels: np.ndarray | None = None


class Query(Protocol):
    """The query that `--query` names.

    Attributes:
      name: the id, or the name of the file.
      config: what identifies it in a manifest, as JSON values.
      inputs: its inputs besides the tables, by name, for a manifest.
    """

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def inputs(self) -> Mapping[str, Input]: ...

    def locate(self, rows: EmbeddingRows) -> SearchPoint:
        """The point of the query."""


@dataclasses.dataclass(frozen=True)
class RowQuery:
    """A row of the tables.

    Attributes:
      name: its id.
      row: its number.
      config, inputs: see `Query`.
    """

    name: str
    row: int
    inputs: Mapping[str, Input] = dataclasses.field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        return {"query": ascii(self.name)}

    def locate(self, rows: EmbeddingRows) -> SearchPoint:
        """See `Query.locate`."""
        (found,) = rows.read([self.row], "mean")
        return SearchPoint(np.array(found["mean"], np.float32), row=self.row)


@dataclasses.dataclass(frozen=True)
class ImageQuery:
    """An image file.

    Attributes:
      path: where it is.
      model: the artifact of the model that made the embeddings.
      background: color that transparent pixels become, in `BACKGROUNDS`.
    """

    path: epath.Path
    model: Artifact
    background: str

    @property
    def name(self) -> str:
        """See `Query`. Bytes that are not UTF-8, which a file's name may have, are replaced."""
        return self.path.name.encode(errors="replace").decode()

    @property
    def config(self) -> dict[str, Any]:
        """See `Query`."""
        return {"query": ascii(self.name), "background": self.background}

    @property
    def inputs(self) -> Mapping[str, Input]:
        """See `Query`."""
        return {
            "image": Input(self.path, files.sha256(self.path)),
            "model": self.model.as_input(),
        }

    def locate(self, rows: EmbeddingRows) -> SearchPoint:
        """The embedding of the image, converted as the embed stage converts images.

        Raises:
          ConfigError: the file is not an image that can be decoded.
          WorkError: the model is damaged.
        """
        path = self.model.verified(MODEL_FILE)
        height, width, channels = model_file.image_shape(path)
        conversion = Conversion((height, width), channels, self.background)
        pixels = image_file.read(self.path, conversion)
        tensorflow_setup.load()
        from components.model import vae
        from components.model.encode import encode

        means, _ = encode(vae.load(path).in_float32(), pixels[np.newaxis])
        return SearchPoint(means[0], pixels=pixels)


def find(
    name: str, rows: EmbeddingRows, *, model: epath.PathLike | None, background: str | None
) -> Query:
    """Finds the query that `--query` names: a row by its id or, if there is none, an image file.

    Args:
      name: the id or the path.
      rows: the tables.
      model: directory of the model that made them; None for the one in their manifest.
      background: color that transparent pixels of an image file become; None for that of the
        embedded images, if the manifest says it, or black.

    Raises:
      ConfigError: there is no such row or file, or the model is another one or is not there.
    """
    if (row := rows.find(name)) is not None:
        return RowQuery(name, row)
    path = epath.Path(os.path.expanduser(name))
    if not path.exists() or path.is_dir():
        example = rows.read([0], "id")[0]["id"]
        raise ConfigError(
            f"--query {name!r} is neither the id of a row of {rows.artifact.path} (the first one "
            f"is {example!r}) nor an image file"
        )
    if background is None:
        background = rows.artifact.manifest.config.get("background", "black")
    return ImageQuery(path, _find_model(rows, model), background)


def _find_model(rows: EmbeddingRows, directory: epath.PathLike | None) -> Artifact:
    """The model that made the tables."""
    record = rows.artifact.manifest.inputs.get("model")
    if directory is None and record is not None and record.path is not None:
        recorded = rows.artifact.path / record.path
        directory = recorded if recorded.exists() else None
    if directory is None:
        raise ConfigError(
            f"the model that made {rows.artifact.path} is not where its manifest says, and an "
            "image file needs it; pass its directory with --model"
        )
    model = load_artifact(directory, stage="train")
    if rows.model_sha256 != model.output(MODEL_FILE).sha256:
        raise ConfigError(
            f"{model.path} is not the model that made {rows.artifact.path}, so that their "
            "embeddings cannot be compared; pass that model with --model"
        )
    return model

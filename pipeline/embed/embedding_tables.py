"""Tables of embeddings: an application of a model for the embed and evaluate stages."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from components.base.manifest import Artifact, OutputRecord
from components.data.examples import ExampleBatch
from components.data.table_formats import FORMATS, Table
from components.ingest import image_file
from components.model import embeddings
from components.model.registry import MODEL_FILE
from pipeline.apply.engine import mapped_ahead
from pipeline.apply.shard_task import ShardTask
from pipeline.embed.reference import Reference

if TYPE_CHECKING:
    from components.model.vae import VAE

# Columns that need a score, and columns that need coordinates in the plane.
SCORE_COLUMNS = frozenset({"rate", "distortion", "outlier_score"})
REFERENCE_COLUMNS = frozenset({"outlier_score", "x", "y"})
_NOISE_SEED = 0


@dataclasses.dataclass(frozen=True)
class EmbeddingTables:
    """One table per shard, with a row for each of its examples.

    Attributes:
      columns: of `embeddings.COLUMNS`, in that order.
      format: key of `FORMATS`.
      model_sha256: SHA-256 digest of the `.keras` file, for the metadata of the tables.
      reference: what `outlier_score`, `x` and `y` compare with.
    """

    columns: tuple[str, ...]
    format: str
    model_sha256: str
    reference: Reference

    @staticmethod
    def of(
        model: Artifact,
        *,
        columns: tuple[str, ...],
        format: str = "parquet",
        reference: Reference = Reference(),  # noqa: B008 - frozen
    ) -> "EmbeddingTables":
        """The tables of a trained model; the arguments are the attributes."""
        return EmbeddingTables(columns, format, model.output(MODEL_FILE).sha256, reference)

    def settings(self) -> dict[str, Any]:
        """See `Application.settings`."""
        return dataclasses.asdict(self)

    def open(self, vae: "VAE") -> "OpenTables":
        """See `Application.open`."""
        return OpenTables(self, vae)

    def read_ids(self, task: ShardTask) -> Iterator[list[str]] | None:
        """See `Application.read_ids`."""
        if "id" not in self.columns:
            return None
        return FORMATS[self.format].read_ids(task.directory, task.stem)


class OpenTables:
    """Tables whose model is in memory."""

    def __init__(self, tables: EmbeddingTables, vae: "VAE"):
        self._tables = tables
        self._vae = vae

    def write(self, task: ShardTask, blocks: Iterator[ExampleBatch]) -> dict[str, OutputRecord]:
        """See `OpenApplication.write`."""
        metadata = {"model_sha256": self._tables.model_sha256, "shard_sha256": task.sha256}
        schema = embeddings.schema(self._tables.columns, self._vae.latents, metadata)
        computation = _Computation(self._tables, self._vae, task, schema)
        table = Table(schema, task.examples, mapped_ahead(computation.rows, blocks))
        return FORMATS[self._tables.format].write(table, task.directory, task.stem)


class _Computation:
    """The rows of a shard, which are computed in order, since each image has its own noise."""

    def __init__(self, tables: EmbeddingTables, vae: "VAE", task: ShardTask, schema: pa.Schema):
        self._tables = tables
        self._vae = vae
        self._task = task
        self._schema = schema
        self._first = task.first
        self._noise = np.random.default_rng([_NOISE_SEED, task.first])

    def rows(self, block: ExampleBatch) -> pa.RecordBatch:
        """The rows of the next examples."""
        values: dict[str, Any] = {"id": block.ids, "label": block.labels}
        values |= self._encoded(block)
        if "x" in self._tables.columns or "y" in self._tables.columns:
            points = self._tables.reference.coordinates(values["mean"])
            if points is not None:
                values |= {"x": points[:, 0], "y": points[:, 1]}
        if "image" in self._tables.columns:
            values["image"] = [image_file.to_png(image) for image in block.images]
        return embeddings.record_batch(
            self._schema,
            values,
            count=len(block),
            split=self._task.split,
            class_names=self._task.class_names,
        )

    def _encoded(self, block: ExampleBatch) -> dict[str, Any]:
        """The columns that the model computes."""
        # Imports TensorFlow, which the launcher of a job on a cluster does not need.
        from components.model import encode

        if not SCORE_COLUMNS & set(self._tables.columns):
            means, log_variances = encode.encode(self._vae, block.images)
            return {"mean": means, "log_variance": log_variances}
        noise = self._noise.standard_normal((len(block), self._vae.latents), np.float32)
        scored = encode.encode_and_score(
            self._vae, block.images, noise, block.labels, first=self._first
        )
        self._first += len(block)
        return {
            "mean": scored.means,
            "log_variance": scored.log_variances,
            "rate": scored.rate,
            "distortion": scored.distortion,
            "outlier_score": self._tables.reference.outlier_scores(scored.elbo),
        }

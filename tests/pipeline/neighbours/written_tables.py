"""Tables of embeddings as the embed stage publishes them, of numbers that a test chooses."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from PIL import Image

from components.base.artifacts import ArtifactPlan
from components.data.table_formats import FORMATS, Table
from components.model import embeddings

RNG = np.random.default_rng(0)


def normal(count: int, latents: int = 3) -> np.ndarray:
    return RNG.standard_normal((count, latents)).astype(np.float32)


def ids(count: int) -> list[str]:
    """Ids in an order that is not alphabetical."""
    return [f"test-{number * 7 % 1000:04}" for number in range(count)]


def png(number: int, size: int = 8) -> bytes:
    """A gray image of its own for each number, as a PNG file."""
    pixels = np.random.default_rng(number).integers(0, 256, (size, size), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_tables(
    directory: Path,
    means: np.ndarray,
    *,
    files: int = 1,
    format: str = "parquet",
    stage: str = "embed",
    folder: str = "",
    model_sha256: str = "0" * 64,
    **columns: Any,
) -> Path:
    """Publishes tables.

    Args:
      directory: where to.
      means: embeddings, float32, shape [N, latents].
      files: number of files that share the rows.
      format, stage: see the embed stage.
      folder: where in the artifact the tables are; with a slash at its end.
      model_sha256: digest of the model, for the metadata.
      **columns: more columns: arrays or lists of N values. `label` is 0 if it is not given.

    Returns:
      The directory.
    """
    values: Mapping[str, Any] = {"id": ids(len(means)), "mean": means, **columns}
    values = {"label": np.zeros(len(means), np.int64), **values}
    names = [name for name in embeddings.COLUMNS if name in values or name == "label_name"]
    schema = embeddings.schema(names, means.shape[1], {"model_sha256": model_sha256})
    plan = ArtifactPlan(stage, epath.Path(directory), {"format": format, "columns": names}, {})
    with plan.publish() as draft:
        target = draft.path / folder
        target.mkdir(parents=True, exist_ok=True)
        for number, rows in enumerate(np.array_split(np.arange(len(means)), files)):
            block = {name: _take(column, rows) for name, column in values.items()}
            batch = embeddings.record_batch(
                schema, block, count=len(rows), split="test", class_names=["bag", "coat"]
            )
            table = Table(
                schema, len(rows), [batch.slice(at, 10) for at in range(0, len(rows), 10)]
            )
            FORMATS[format].write(table, target, f"x-test-{number:05}-of-{files:05}")
    return directory


def _take(column: Any, rows: np.ndarray) -> Any:
    """Some values of an array, or of a list, which may hold None."""
    return column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]

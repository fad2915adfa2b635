"""Embeddings as tables: one row per example, with the parameters of its posterior and its score.

`COLUMNS` names the columns. A value that is not known is null.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

# Each column, with its type; `None` is a list of as many float32 numbers as there are latents.
_TYPES: dict[str, pa.DataType | None] = {
    "id": pa.string(),
    "split": pa.string(),
    "label": pa.int64(),
    "label_name": pa.string(),
    "mean": None,
    "log_variance": None,
    "rate": pa.float32(),
    "distortion": pa.float32(),
    "outlier_score": pa.float32(),
    "x": pa.float32(),
    "y": pa.float32(),
    "image": pa.binary(),
}
COLUMNS = tuple(_TYPES)


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """The posteriors of N examples.

    Attributes:
      ids: the ids of the examples, N strings.
      labels: int64, shape [N].
      means: posterior means, which are the embeddings; float32, shape [N, latents].
      log_variances: posterior log-variances, float32, shape [N, latents].
    """

    ids: Sequence[str]
    labels: np.ndarray
    means: np.ndarray
    log_variances: np.ndarray


def schema(columns: Sequence[str], latents: int, metadata: Mapping[str, str]) -> pa.Schema:
    """The schema of a table.

    Args:
      columns: names of the columns, in the order of `COLUMNS`.
      latents: number of latent dimensions.
      metadata: texts by name, which are stored with the schema.
    """
    vector = pa.list_(pa.float32(), latents)
    fields = [(name, _TYPES[name] or vector) for name in columns]
    return pa.schema(fields, {"vae_pipeline": json.dumps(metadata, sort_keys=True)})


def record_batch(
    schema: pa.Schema,
    values: Mapping[str, Any],
    *,
    count: int,
    split: str | None,
    class_names: Sequence[str],
) -> pa.RecordBatch:
    """Rows of a table.

    Args:
      schema: that of the table.
      values: by column, a list or an array of `count` values or of `count` vectors; it must have
        the labels.
      count: number of rows.
      split: the split that the examples belong to; None if it is not known.
      class_names: names of the labels, by label; labels beyond them have no name.
    """
    columns = {**values, "split": pa.repeat(pa.scalar(split, pa.string()), count)}
    if "label_name" in schema.names:
        columns["label_name"] = _label_names(values["label"], class_names)
    return pa.record_batch(
        [_array(columns.get(field.name), field.type, count) for field in schema], schema=schema
    )


def _label_names(labels: np.ndarray, class_names: Sequence[str]) -> pa.Array:
    # A name may contain bytes of a file name that are not UTF-8.
    names = [name.encode(errors="replace").decode() for name in class_names]
    is_unknown = (labels < 0) | (labels >= len(names))
    return pa.array(names, pa.string()).take(pa.array(labels, pa.int64(), mask=is_unknown))


def _array(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    if isinstance(values, pa.Array):
        return values
    if pa.types.is_fixed_size_list(kind):
        numbers = pa.array(values.ravel(), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(numbers, type=kind)
    return pa.array(values, kind)


def read(path: epath.PathLike) -> Embeddings:
    """Reads a Parquet file with the columns `id`, `label`, `mean` and `log_variance`."""
    table = pq.read_table(
        pa.BufferReader(epath.Path(path).read_bytes()),
        columns=["id", "label", "mean", "log_variance"],
    )

    def vectors(name: str) -> np.ndarray:
        column = table[name].combine_chunks()
        return column.flatten().to_numpy().reshape(-1, column.type.list_size)

    return Embeddings(
        ids=table["id"].to_pylist(),
        labels=table["label"].to_numpy(),
        means=vectors("mean"),
        log_variances=vectors("log_variance"),
    )

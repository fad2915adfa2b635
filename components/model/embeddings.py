"""Embeddings as Parquet files: one row per example, with the parameters of its posterior.

Columns: `id` (string), `label` (int64), `mean` and `log_variance` (fixed-size lists of float32),
`label_name` and `split` (strings, null if they are not known).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from components.base import artifacts


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


def write(
    embeddings: Embeddings,
    path: epath.PathLike,
    *,
    split: str | None = None,
    class_names: Sequence[str] = (),
) -> None:
    """Writes embeddings to one Parquet file, atomically.

    Args:
      embeddings: the rows.
      path: the file.
      split: name of the split that the examples belong to; None if it is not known.
      class_names: names of the labels, by label; labels beyond them have no name.
    """
    count, latents = embeddings.means.shape
    # A name may contain bytes of a file name that are not UTF-8.
    names = [name.encode(errors="replace").decode() for name in class_names]
    label_names = [
        names[label] if 0 <= label < len(names) else None for label in embeddings.labels.tolist()
    ]

    def vectors(values: np.ndarray) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), latents)

    table = pa.table(
        {
            "id": pa.array(embeddings.ids, pa.string()),
            "label": pa.array(embeddings.labels, pa.int64()),
            "mean": vectors(embeddings.means),
            "log_variance": vectors(embeddings.log_variances),
            "label_name": pa.array(label_names, pa.string()),
            "split": pa.array([split] * count, pa.string()),
        }
    )
    # Through memory, because `path` may be remote.
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    with artifacts.atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read(path: epath.PathLike) -> Embeddings:
    """Reads a file that `write` wrote."""
    table = pq.read_table(pa.BufferReader(epath.Path(path).read_bytes()))

    def vectors(name: str) -> np.ndarray:
        column = table[name].combine_chunks()
        return column.flatten().to_numpy().reshape(-1, column.type.list_size)

    return Embeddings(
        ids=table["id"].to_pylist(),
        labels=table["label"].to_numpy(),
        means=vectors("mean"),
        log_variances=vectors("log_variance"),
    )

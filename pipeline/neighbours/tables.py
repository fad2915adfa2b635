"""The rows of published tables of embeddings, read in blocks: no table is in memory as a whole."""

import contextlib
import dataclasses
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from components.base.errors import ConfigError, WorkError, one_line
from components.base.manifest import Artifact, load_artifact, read_manifest
from components.model import embeddings

# Rows of a block. With 1,000 latents, a column of vectors takes 64 MiB.
_BLOCK_ROWS = 1 << 14
_FOLDER = "embeddings"
_SUFFIX = ".parquet"
_EXAMPLE = "id,split,label,label_name,mean,log_variance,outlier_score,image"


@dataclasses.dataclass(frozen=True)
class EmbeddingRows:
    """The rows of the tables of an artifact, numbered from 0 in the order of the files' names.

    Attributes:
      artifact: the artifact of the embed or of the evaluate stage.
      paths: the Parquet files, sorted.
      counts: the number of rows of each file.
      columns: the columns that all files have.
      latents: number of latent dimensions; 0 without a column of vectors.
      model_sha256: SHA-256 digest of the model's file, in hexadecimal; "" if it is not known.
    """

    artifact: Artifact
    paths: tuple[epath.Path, ...]
    counts: tuple[int, ...]
    columns: tuple[str, ...]
    latents: int
    model_sha256: str

    @staticmethod
    def open(directory: epath.PathLike) -> "EmbeddingRows":
        """Opens the tables in a directory, whose files are compared with their digests.

        Args:
          directory: what the embed stage wrote, or the evaluate stage, or the folder embeddings/
            in the latter.

        Raises:
          ConfigError: there are no tables, or they are in another format than Parquet.
          WorkError: a file is damaged, or is not a table of embeddings.
        """
        artifact, prefix = _find_artifact(epath.Path(directory))
        names = [name for name in artifact.manifest.outputs if name.startswith(prefix)]
        tables = sorted(name for name in names if name.endswith(_SUFFIX))
        if not tables:
            found = artifact.manifest.config.get("format", "no Parquet file")
            raise ConfigError(
                f"{directory} has tables of the format {found}, but the neighbours stage reads "
                "Parquet; run `python -m pipeline embed` with --format parquet"
            )
        paths = tuple(artifact.verified(name) for name in tables)
        described = [_describe(path) for path in paths]
        if len({each[1:] for each in described}) > 1:
            raise WorkError(f"the tables in {directory} have different columns or models")
        counts = tuple(count for count, *_ in described)
        if not sum(counts):
            raise WorkError(f"the tables in {directory} have no rows; embed some images")
        return EmbeddingRows(artifact, paths, counts, *described[0][1:])

    def __len__(self) -> int:
        return sum(self.counts)

    def require(self, *names: str) -> None:
        """Checks that the tables have columns.

        Raises:
          ConfigError: one is missing; the message says how to write it.
        """
        for name in names:
            if name not in self.columns:
                raise ConfigError(
                    f"{self.artifact.path} has no column {name}; write tables that have it with "
                    f"`python -m pipeline embed --columns {_EXAMPLE}`"
                )

    def blocks(self, *names: str) -> Iterator[pa.RecordBatch]:
        """Yields the columns `names` of all rows, in order, in blocks."""
        for path in self.paths:
            with _opened(path) as file:
                yield from file.iter_batches(_BLOCK_ROWS, columns=list(names))

    def vectors(self, *names: str) -> Iterator[tuple[np.ndarray, ...]]:
        """Yields columns of vectors in blocks, each float32 [rows, latents].

        Raises:
          WorkError: a vector is null or not finite.
        """
        for block in self.blocks(*names):
            yield tuple(self._vectors(block, name) for name in names)

    def find(self, id: str) -> int | None:
        """The number of the row with an id; None if there is none."""
        self.require("id")
        try:
            wanted = pa.scalar(id)
        except UnicodeEncodeError:
            return None  # An id is UTF-8, but a name that the user gives may not be.
        first = 0
        for block in self.blocks("id"):
            position = block["id"].index(wanted).as_py()
            if position >= 0:
                return first + position
            first += len(block)
        return None

    def read(self, numbers: Sequence[int] | np.ndarray, *names: str) -> list[dict[str, Any]]:
        """The columns `names` of some rows, in the order of `numbers`.

        Only the row groups of the files that have such rows are read.
        """
        rows: dict[int, dict[str, Any]] = {}
        wanted = np.unique(np.asarray(numbers, np.int64))
        starts = [0, *itertools.accumulate(self.counts)]
        for path, start, stop in zip(self.paths, starts[:-1], starts[1:], strict=True):
            in_file = wanted[(wanted >= start) & (wanted < stop)]
            if len(in_file):
                with _opened(path) as file:
                    rows |= _read_from(file, in_file, start, names)
        return [rows[int(number)] for number in numbers]

    def _vectors(self, block: pa.RecordBatch, name: str) -> np.ndarray:
        column = block[name]
        if column.null_count or column.values.null_count:
            raise WorkError(f"a row of {self.artifact.path} has no {name}; embed the images again")
        vectors = column.flatten().to_numpy().reshape(len(column), -1)
        if not np.isfinite(vectors).all():
            raise WorkError(
                f"a row of {self.artifact.path} has a {name} that is not finite, so that it has no "
                "distance from others; train the model again"
            )
        return vectors


def _find_artifact(directory: epath.Path) -> tuple[Artifact, str]:
    """The artifact that has the tables of a directory, and the folder that they are in."""
    if directory.name == _FOLDER and read_manifest(directory) is None:
        return load_artifact(directory.parent, stage="evaluate"), f"{_FOLDER}/"
    manifest = read_manifest(directory)
    if manifest is not None and manifest.stage == "evaluate":
        return load_artifact(directory, stage="evaluate"), f"{_FOLDER}/"
    return load_artifact(directory, stage="embed"), ""


@contextlib.contextmanager
def _opened(path: epath.Path) -> Iterator[pq.ParquetFile]:
    """Opens a Parquet file, whose errors become those of the user."""
    is_local = os.path.isfile(path)
    try:
        with (
            pa.OSFile(os.fspath(path)) if is_local else pa.BufferReader(path.read_bytes())
        ) as source:
            yield pq.ParquetFile(source)
    except pa.ArrowException as error:
        raise WorkError(
            f"{path} is not a Parquet file that can be read: {one_line(error, length=120)}; "
            "embed the images again"
        ) from None


def _describe(path: epath.Path) -> tuple[int, tuple[str, ...], int, str]:
    """The number of rows of a table, its columns, the number of latents and the model's digest."""
    with _opened(path) as file:
        schema, count = file.schema_arrow, file.metadata.num_rows
    vectors = [schema.field(name).type for name in ("mean", "log_variance") if name in schema.names]
    lists = [kind.list_size for kind in vectors if pa.types.is_fixed_size_list(kind)]
    latents = lists[0] if lists else 0
    expected = embeddings.schema(
        [name for name in embeddings.COLUMNS if name in schema.names], latents, {}
    )
    for name in schema.names:
        if name not in expected.names or not _same(schema.field(name).type, expected.field(name)):
            raise WorkError(
                f"{path} has a column {one_line(name, length=40)} of the type "
                f"{schema.field(name).type}, which no table of embeddings has; embed the images "
                "again"
            )
    metadata = json.loads((schema.metadata or {}).get(b"vae_pipeline", b"{}"))
    return count, tuple(schema.names), latents, metadata.get("model_sha256", "")


def _same(found: pa.DataType, expected: pa.Field) -> bool:
    """Whether a column has its type; Parquet may rename the elements of lists."""
    if pa.types.is_fixed_size_list(expected.type):
        is_list = pa.types.is_fixed_size_list(found)
        return is_list and (found.list_size, found.value_type) == (
            expected.type.list_size,
            expected.type.value_type,
        )
    return found == expected.type


def _read_from(
    file: pq.ParquetFile, numbers: np.ndarray, start: int, names: Sequence[str]
) -> dict[int, dict[str, Any]]:
    """Rows of one file, by number.

    Args:
      file: the file.
      numbers: numbers of the rows, ascending.
      start: the number of the file's first row.
      names: the columns to read.
    """
    rows: dict[int, dict[str, Any]] = {}
    for group in range(file.metadata.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        in_group = numbers[(numbers >= start) & (numbers < stop)]
        if len(in_group):
            table = file.read_row_group(group, columns=list(names)).take(in_group - start)
            rows |= dict(zip(in_group.tolist(), table.to_pylist(), strict=True))
        start = stop
    return rows

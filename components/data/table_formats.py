"""Tables as files of three formats: Parquet, NumPy and TFRecord.

A table is a stream of Arrow record batches, which is written without holding it in memory. Its
files have a common stem, such as `x-test-00000-of-00001`.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from components.base import artifacts, files, json_types
from components.base.manifest import OutputRecord
from components.data import tf_example, tfrecord

# A row group of a Parquet file has about this many bytes or rows, whichever is less.
_GROUP_BYTES, _GROUP_ROWS = 32 << 20, 1 << 16
# Columns with few different values, which Parquet stores as a dictionary.
_REPEATED = ("split", "label", "label_name")
_ROWS = "jsonl"
_LINES_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Table:
    """A table to write.

    Attributes:
      schema: its columns.
      rows: number of its rows.
      batches: the rows, in order.
    """

    schema: pa.Schema
    rows: int
    batches: Iterable[pa.RecordBatch]


class TableFormat(Protocol):
    """A format of tables."""

    def write(self, table: Table, directory: epath.Path, stem: str) -> dict[str, OutputRecord]:
        """Writes a table, each file atomically.

        Returns:
          The size and the digest of each file, by its name.
        """

    def read_ids(self, directory: epath.Path, stem: str) -> Iterator[list[str]]:
        """Yields the column `id` of a table in order, in parts."""


class ParquetTables:
    """One Parquet file per table: `STEM.parquet`."""

    def write(self, table: Table, directory: epath.Path, stem: str) -> dict[str, OutputRecord]:
        """See `TableFormat.write`."""
        repeated = [name for name in _REPEATED if name in table.schema.names]
        with (
            _writing(directory, f"{stem}.parquet") as sink,
            pq.ParquetWriter(sink, table.schema, use_dictionary=repeated) as writer,
        ):
            for group in _row_groups(table.batches):
                writer.write_table(pa.Table.from_batches(group))
        return sink.written()

    def read_ids(self, directory: epath.Path, stem: str) -> Iterator[list[str]]:
        """See `TableFormat.read_ids`."""
        path = directory / f"{stem}.parquet"
        is_local = os.path.isfile(path)
        with pa.OSFile(os.fspath(path)) if is_local else pa.BufferReader(path.read_bytes()) as file:
            for batch in pq.ParquetFile(file).iter_batches(_GROUP_ROWS, columns=["id"]):
                yield batch["id"].to_pylist()


class NumpyTables:
    """One file per column of numbers, `STEM.COLUMN.npy`, and `STEM.jsonl` for the texts.

    A number that is null is NaN. The JSON Lines file has one object for each row.
    """

    def write(self, table: Table, directory: epath.Path, stem: str) -> dict[str, OutputRecord]:
        """See `TableFormat.write`."""
        texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
        numbers = [field for field in table.schema if field.name not in texts]
        with contextlib.ExitStack() as stack:
            rows = stack.enter_context(_writing(directory, f"{stem}.{_ROWS}"))
            sinks = {
                field.name: stack.enter_context(_writing(directory, f"{stem}.{field.name}.npy"))
                for field in numbers
            }
            for field in numbers:
                _write_header(sinks[field.name], field.type, table.rows)
            for batch in table.batches:
                for row in batch.select(texts).to_pylist():
                    rows.write(f"{json.dumps(row, ensure_ascii=False)}\n".encode())
                for field in numbers:
                    sinks[field.name].write(_numbers(batch[field.name]).tobytes())
        written = rows.written()
        for sink in sinks.values():
            written |= sink.written()
        return written

    def read_ids(self, directory: epath.Path, stem: str) -> Iterator[list[str]]:
        """See `TableFormat.read_ids`."""
        with files.open_regular(directory / f"{stem}.{_ROWS}") as file:
            while lines := file.readlines(_LINES_BYTES):
                yield [json_types.parse_text(line)["id"] for line in lines]


class TfrecordTables:
    """One TFRecord file of tf.Examples per table: `STEM.tfrecord`.

    A feature has the name of its column. A value that is null is an empty list.
    """

    def write(self, table: Table, directory: epath.Path, stem: str) -> dict[str, OutputRecord]:
        """See `TableFormat.write`."""
        with _writing(directory, f"{stem}.tfrecord") as sink:
            for batch in table.batches:
                for row in batch.to_pylist():
                    sink.write(tfrecord.frame(tf_example.serialize_row(row)))
        return sink.written()

    def read_ids(self, directory: epath.Path, stem: str) -> Iterator[list[str]]:
        """See `TableFormat.read_ids`."""
        for payload in tfrecord.read_records(directory / f"{stem}.tfrecord"):
            yield [tf_example.features(payload)["id"].bytes_list.value[0].decode()]


FORMATS: dict[str, TableFormat] = {
    "parquet": ParquetTables(),
    "npy": NumpyTables(),
    "tfrecord": TfrecordTables(),
}


class _Sink(io.RawIOBase):
    """A file that is written in order, with its size and its digest."""

    def __init__(self, name: str, file: IO[bytes]):
        self._name = name
        self._file = file
        self._size = 0
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        # TensorFlow's files, which are remote ones, take only bytes.
        data = bytes(data)
        self._file.write(data)
        self._digest.update(data)
        self._size += len(data)
        return len(data)

    def written(self) -> dict[str, OutputRecord]:
        """The size and the digest of the file, by its name."""
        return {self._name: OutputRecord(self._size, self._digest.hexdigest())}


@contextlib.contextmanager
def _writing(directory: epath.Path, name: str) -> Iterator[_Sink]:
    with artifacts.atomic_write(directory / name) as temporary, temporary.open("wb") as file:
        # TensorFlow creates a remote file only when something is written to it.
        file.write(b"")
        yield _Sink(name, file)


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Consecutive batches that make row groups; at least one group, which may be without rows."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        is_large = sum(each.nbytes for each in group) >= _GROUP_BYTES
        if is_large or sum(map(len, group)) >= _GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def _write_header(sink: _Sink, kind: pa.DataType, rows: int) -> None:
    """Writes the header of a .npy file of a column."""
    is_vector = pa.types.is_fixed_size_list(kind)
    dtype = pa.array([], kind.value_type if is_vector else kind).to_numpy().dtype
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (rows, kind.list_size) if is_vector else (rows,),
    }
    np.lib.format.write_array_header_1_0(sink, header)


def _numbers(column: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy()
    return column.to_numpy(zero_copy_only=False)

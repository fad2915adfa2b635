"""Sorted runs: the intermediate files between reading a source and writing its shards.

The prepare stage is an external merge sort. A worker reads a part of the source, sorts its examples
by the hash of their ids, and writes them as one or more sorted runs. A shard is a range of hashes:
its writer reads that range from all runs and merges the pieces. So images never pass through Beam,
whose runners hold in memory what they group, and the shards do not depend on which worker read
which part.

A run is an Arrow file with one record batch for each of 2**k equal parts of the hash range, so that
a range of hashes is read without the rest of the file.
"""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath

from components.base import artifacts
from components.base.arithmetic import ceil_div
from components.base.shapes import Shape
from components.data.examples import ExampleBatch

NUM_HASHES = 2**64  # The hashes of ids are 0 to NUM_HASHES - 1.
_DIGEST_BYTES = 16
# Minimum average size of a record batch, if the file has more than one.
_PART_BYTES = 256 << 10
_BOUNDS = "bounds"  # Metadata: the first row of each part, and the number of rows, as JSON.
_COLUMNS = ("hash", "digest", "label", "id", "image")


@dataclasses.dataclass(frozen=True)
class SortedRun:
    """The description of a run: examples of the same split and image shape.

    Attributes:
      file: name of the file.
      slice: number of the slice of the source that the examples come from.
      split: the source's split.
      shape: (height, width, channels) of the images.
      rows: number of examples.
    """

    file: str
    slice: int
    split: str
    shape: Shape
    rows: int


@dataclasses.dataclass(frozen=True)
class RunRange:
    """Consecutive examples of a run, held in memory.

    Attributes:
      first: row of the first example in the run.
      hashes: uint64, shape [N], in ascending order.
      examples: the N examples.
    """

    first: int
    hashes: np.ndarray
    examples: ExampleBatch

    def without(self, dropped: frozenset[int]) -> "RunRange":
        """Removes the examples whose rows in the run are in `dropped`."""
        if not dropped:
            return self
        kept = [n for n in range(len(self.examples)) if self.first + n not in dropped]
        indices = np.array(kept, np.int64)
        return RunRange(self.first, self.hashes[indices], self.examples.take(indices))


def sort_order(hashes: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """Indices that sort examples by hash, and by id among equal hashes: int64, shape [N]."""
    order = np.argsort(hashes, kind="stable")
    # Two ids rarely have the same hash, and sorting strings takes much longer.
    if (hashes[order][1:] == hashes[order][:-1]).any():
        order = np.lexsort((np.array(ids), hashes))
    return order


def write(path: epath.Path, examples: ExampleBatch, hashes: np.ndarray) -> None:
    """Sorts examples and writes them as a run, atomically.

    Args:
      path: the file to write.
      examples: examples of the same shape, in any order.
      hashes: the hashes of their ids, uint64, shape [N].
    """
    order = sort_order(hashes, examples.ids)
    hashes = hashes[order]
    images = examples.images[order].reshape(len(examples), -1)
    digests = [hashlib.blake2b(row, digest_size=_DIGEST_BYTES).digest() for row in images]
    bounds = _part_bounds(hashes, images.nbytes)
    columns = [
        pa.array(hashes),
        _fixed_size_column(b"".join(digests), _DIGEST_BYTES),
        pa.array(examples.labels[order]),
        pa.array([examples.ids[row] for row in order], pa.string()),
        _fixed_size_column(images, images.shape[1]),
    ]
    batch = pa.record_batch(columns, names=_COLUMNS)
    schema = batch.schema.with_metadata({_BOUNDS: json.dumps(bounds)})
    with (
        artifacts.atomic_write(path) as temporary,
        temporary.open("wb") as file,
        pa.ipc.new_file(_arrow_file(file, temporary), schema) as writer,
    ):
        for start, stop in itertools.pairwise(bounds):
            writer.write_batch(batch.slice(start, stop - start))


class SortedRunReader:
    """An open run, from which ranges can be read."""

    def __init__(self, reader: pa.ipc.RecordBatchFileReader):
        self._reader = reader
        self._bounds = json.loads(reader.schema.metadata[_BOUNDS.encode()])

    def read(self, shape: Shape, low: int, high: int) -> RunRange:
        """Copies the examples with hashes in [low, high); `shape` is the shape of the images."""
        part_width = NUM_HASHES // (len(self._bounds) - 1)
        parts = range(low // part_width, ceil_div(high, part_width))
        first, batches = 0, []
        for part in parts:
            batch = self._reader.get_batch(part)
            hashes = batch["hash"].to_numpy()
            start = int(np.searchsorted(hashes, np.uint64(low)))
            # By the last hash of the range, since `high` may be 2**64, which is not a uint64.
            stop = int(np.searchsorted(hashes, np.uint64(high - 1), side="right"))
            if part == parts.start:
                first = self._bounds[part] + start
            batches.append(batch.slice(start, stop - start))
        # Slices are concatenated, even a single one: a view would keep its whole batch in memory.
        images = np.concatenate([_bytes_of(batch["image"]) for batch in batches])
        ids, labels = _ids_of(batches), _numbers_of(batches, "label")
        examples = ExampleBatch(ids, images.reshape(-1, *shape), labels)
        return RunRange(first, _numbers_of(batches, "hash"), examples)


@contextlib.contextmanager
def open_run(path: epath.Path) -> Iterator[SortedRunReader]:
    """Opens a run. What is read from it stays valid after the run is closed."""
    with _open_arrow(path) as reader:
        yield SortedRunReader(reader)


def read(path: epath.Path, shape: Shape, low: int, high: int) -> RunRange:
    """Reads the examples of a run with hashes in [low, high); `shape` is that of the images."""
    with open_run(path) as run:
        return run.read(shape, low, high)


def hash_column(path: epath.Path) -> np.ndarray:
    """Reads the hashes of a run's ids: uint64, shape [N], in ascending order."""
    with _open_columns(path, "hash") as batches:
        return _numbers_of(batches, "hash")


def digest_column(path: epath.Path) -> np.ndarray:
    """Reads the 128-bit digests of a run's pixels: uint64, shape [N, 2]."""
    with _open_columns(path, "digest") as batches:
        return np.concatenate([_bytes_of(batch["digest"]) for batch in batches]).view("<u8")


def id_and_label_columns(path: epath.Path) -> tuple[list[str], np.ndarray]:
    """Reads a run's N ids and its labels: int64, shape [N]."""
    with _open_columns(path, "id", "label") as batches:
        return _ids_of(batches), _numbers_of(batches, "label")


@contextlib.contextmanager
def _open_columns(path: epath.Path, *columns: str) -> Iterator[list[pa.RecordBatch]]:
    """All record batches of a run, with only the named columns read from the file."""
    with _open_arrow(path, *columns) as reader:
        yield [reader.get_batch(part) for part in range(reader.num_record_batches)]


@contextlib.contextmanager
def _open_arrow(path: epath.Path, *columns: str) -> Iterator[pa.ipc.RecordBatchFileReader]:
    """Opens an Arrow file to read the named columns, or all if none is named."""
    options = pa.ipc.IpcReadOptions(included_fields=[_COLUMNS.index(each) for each in columns])
    if os.path.isfile(path):
        # Not memory-mapped: the pages of all runs would count as memory of this process.
        with pa.OSFile(os.fspath(path)) as file:
            yield pa.ipc.open_file(file, options=options)
    else:
        with path.open("rb") as file:
            yield pa.ipc.open_file(_arrow_file(file, path), options=options)


def _arrow_file(file: Any, path: epath.Path) -> Any:
    """The open file in a form that Arrow accepts: itself if it is local, otherwise an adapter."""
    return file if os.path.isfile(path) else _ArrowFileAdapter(file)


class _ArrowFileAdapter(io.RawIOBase):
    """A remote file with the methods that Arrow calls; TensorFlow's file objects lack some.

    Closing the adapter leaves the file open.
    """

    def __init__(self, file: Any):
        self._file = file

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        # TensorFlow accepts only bytes; the copy is that of one record batch.
        self._file.write(bytes(data))
        return len(data)


def _numbers_of(batches: list[pa.RecordBatch], column: str) -> np.ndarray:
    return np.concatenate([batch[column].to_numpy() for batch in batches])


def _ids_of(batches: list[pa.RecordBatch]) -> list[str]:
    return [example_id for batch in batches for example_id in batch["id"].to_pylist()]


def _part_bounds(hashes: np.ndarray, num_bytes: int) -> list[int]:
    """The bounds of the record batches, as rows: 0, the first row of each further part, and N.

    Args:
      hashes: in ascending order.
      num_bytes: size of the images.
    """
    num_parts = 2 ** max(0, math.floor(math.log2(max(1, num_bytes / _PART_BYTES))))
    # With one part `inner` is empty; the divisor of 2 keeps its width within uint64.
    width = np.uint64(NUM_HASHES // max(2, num_parts))
    inner = np.arange(1, num_parts, dtype=np.uint64) * width
    return [0, *np.searchsorted(hashes, inner).tolist(), len(hashes)]


def _fixed_size_column(data: bytes | np.ndarray, width: int) -> pa.FixedSizeBinaryArray:
    """An Arrow column of values of `width` bytes, without a copy of `data`."""
    buffer = pa.py_buffer(data)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), buffer.size // width, [None, buffer]
    )


def _bytes_of(column: pa.FixedSizeBinaryArray) -> np.ndarray:
    """A view of a column: uint8, shape [N, width]."""
    width = column.type.byte_width
    codes = np.frombuffer(column.buffers()[1], np.uint8, len(column) * width, column.offset * width)
    return codes.reshape(-1, width)

"""Runs: examples on their way from the source to the shards, on disk, sorted by their hashes.

As in an external merge sort: a worker sorts what it reads of the source and writes it as a run; a
shard is a range of hashes, gathered from all runs. So images never pass through Beam, whose
runners keep in memory what they group, and the shards are the same whoever read what.

A run is an Arrow file. Its record batches are the equal parts of the range of hashes, so that a
part of it is read without the rest.
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
from components.base.shapes import Shape
from components.data.examples import ExampleBatch

HASHES = 2**64
_DIGEST_BYTES = 16
_PART_BYTES = 256 << 10
_BOUNDS = "bounds"
_COLUMNS = ("hash", "digest", "label", "id", "image")


@dataclasses.dataclass(frozen=True)
class SortedRun:
    """A file of examples of one split and shape.

    Attributes:
      file: its name.
      slice: the number of the source's slice that it was read from.
      split: the source's split.
      shape: of its images.
      rows: number of examples.
    """

    file: str
    slice: int
    split: str
    shape: Shape
    rows: int


@dataclasses.dataclass(frozen=True)
class Rows:
    """Neighbours in a run.

    Attributes:
      first: the place in the run of the first.
      hashes: uint64 [N], rising.
      block: the examples.
    """

    first: int
    hashes: np.ndarray
    block: ExampleBatch

    def without(self, dropped: frozenset[int]) -> "Rows":
        """Those that are not among the run's `dropped` rows."""
        if not dropped:
            return self
        stay = [n for n in range(len(self.block)) if self.first + n not in dropped]
        rows = np.array(stay, np.int64)
        return Rows(self.first, self.hashes[rows], self.block.take(rows))


def order_of(hashes: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """Where each example goes: by hash, and by id where two ids have one hash."""
    order = np.argsort(hashes, kind="stable")
    if (hashes[order][1:] == hashes[order][:-1]).any():
        order = np.lexsort((np.array(ids), hashes))
    return order


def write(path: epath.Path, block: ExampleBatch, hashes: np.ndarray) -> None:
    """Writes a block's examples, and their ids' hashes, as a run; whole, or not at all."""
    order = order_of(hashes, block.ids)
    hashes = hashes[order]
    images = block.images[order].reshape(len(block), -1)
    digests = [hashlib.blake2b(row, digest_size=_DIGEST_BYTES).digest() for row in images]
    bounds = _part_bounds(hashes, images.nbytes)
    columns = [
        pa.array(hashes),
        _fixed_size(b"".join(digests), _DIGEST_BYTES),
        pa.array(block.labels[order]),
        pa.array([block.ids[row] for row in order], pa.string()),
        _fixed_size(images, images.shape[1]),
    ]
    batch = pa.record_batch(columns, names=_COLUMNS)
    schema = batch.schema.with_metadata({_BOUNDS: json.dumps(bounds)})
    with (
        artifacts.atomic_write(path) as temporary,
        temporary.open("wb") as file,
        pa.ipc.new_file(_as_arrow_takes(file, temporary), schema) as writer,
    ):
        for start, stop in itertools.pairwise(bounds):
            writer.write_batch(batch.slice(start, stop - start))


class SortedRunReader:
    """A run to read several ranges of."""

    def __init__(self, reader: pa.ipc.RecordBatchFileReader):
        self._reader = reader
        self._bounds = json.loads(reader.schema.metadata[_BOUNDS.encode()])

    def read(self, shape: Shape, low: int, high: int) -> Rows:
        """The examples, of images of `shape`, whose hashes lie in [low, high), in copies."""
        width = HASHES // (len(self._bounds) - 1)
        parts = range(low // width, -(-high // width))
        first, batches = 0, []
        for part in parts:
            batch = self._reader.get_batch(part)
            hashes = batch["hash"].to_numpy()
            start = int(np.searchsorted(hashes, np.uint64(low)))
            stop = int(np.searchsorted(hashes, np.uint64(high - 1), side="right"))
            if part == parts.start:
                first = self._bounds[part] + start
            # Cut before they are joined: a view of the whole would keep all of it in memory.
            batches.append(batch.slice(start, stop - start))
        images = np.concatenate([_bytes(batch["image"]) for batch in batches])
        ids, labels = _texts(batches), _numbers(batches, "label")
        block = ExampleBatch(ids, images.reshape(-1, *shape), labels)
        return Rows(first, _numbers(batches, "hash"), block)


@contextlib.contextmanager
def opened(path: epath.Path) -> Iterator[SortedRunReader]:
    """Opens a run; what is read of it may be kept when it is closed."""
    with _reader(path) as reader:
        yield SortedRunReader(reader)


def read(path: epath.Path, shape: Shape, low: int, high: int) -> Rows:
    """The examples of a run, of images of `shape`, whose hashes lie in [low, high)."""
    with opened(path) as run:
        return run.read(shape, low, high)


def hash_column(path: epath.Path) -> np.ndarray:
    """The hashes of a run's ids, uint64 [N]."""
    with _batches(path, "hash") as batches:
        return _numbers(batches, "hash")


def digest_column(path: epath.Path) -> np.ndarray:
    """The digests of a run's images, uint64 [N, 2]: equal where the pixels are."""
    with _batches(path, "digest") as batches:
        return np.concatenate([_bytes(batch["digest"]) for batch in batches]).view("<u8")


def id_and_label_columns(path: epath.Path) -> tuple[list[str], np.ndarray]:
    """A run's ids and labels, in its order."""
    with _batches(path, "id", "label") as batches:
        return _texts(batches), _numbers(batches, "label")


@contextlib.contextmanager
def _batches(path: epath.Path, *columns: str) -> Iterator[list[pa.RecordBatch]]:
    """All batches of a run; of the file, no more than these columns is read."""
    with _reader(path, *columns) as reader:
        yield [reader.get_batch(part) for part in range(reader.num_record_batches)]


@contextlib.contextmanager
def _reader(path: epath.Path, *columns: str) -> Iterator[pa.ipc.RecordBatchFileReader]:
    """Reads these columns; all if none is named."""
    options = pa.ipc.IpcReadOptions(included_fields=[_COLUMNS.index(each) for each in columns])
    if os.path.isfile(path):
        # Not mapped to memory: what is read of many runs in turn would all count as this process's.
        with pa.OSFile(os.fspath(path)) as file:
            yield pa.ipc.open_file(file, options=options)
    else:
        with path.open("rb") as file:
            yield pa.ipc.open_file(_as_arrow_takes(file, path), options=options)


def _as_arrow_takes(file: Any, path: epath.Path) -> Any:
    return file if os.path.isfile(path) else _Adapter(file)


class _Adapter(io.RawIOBase):
    """A file as Arrow takes it: TensorFlow's, which epath gives, has not all that Arrow asks for.

    Closing it leaves the file open.
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
        # A batch at a time, so the copy that TensorFlow wants is a small one.
        self._file.write(bytes(data))
        return len(data)


def _numbers(batches: list[pa.RecordBatch], column: str) -> np.ndarray:
    return np.concatenate([batch[column].to_numpy() for batch in batches])


def _texts(batches: list[pa.RecordBatch]) -> list[str]:
    return [each for batch in batches for each in batch["id"].to_pylist()]


def _part_bounds(hashes: np.ndarray, num_bytes: int) -> list[int]:
    """Where the equal parts of the range of hashes begin and end among sorted hashes."""
    parts = 2 ** max(0, math.floor(math.log2(max(1, num_bytes / _PART_BYTES))))
    inner = np.arange(1, parts, dtype=np.uint64) * np.uint64(HASHES // max(2, parts))
    return [0, *np.searchsorted(hashes, inner).tolist(), len(hashes)]


def _fixed_size(data: bytes | np.ndarray, width: int) -> pa.FixedSizeBinaryArray:
    buffer = pa.py_buffer(data)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), buffer.size // width, [None, buffer]
    )


def _bytes(column: pa.FixedSizeBinaryArray) -> np.ndarray:
    """uint8 [N, width]."""
    width = column.type.byte_width
    codes = np.frombuffer(column.buffers()[1], np.uint8, len(column) * width, column.offset * width)
    return codes.reshape(-1, width)

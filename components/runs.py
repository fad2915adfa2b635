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
import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from etils import epath

from components import artifacts
from components.examples import Block, Shape

HASHES = 2**64
_DIGEST_BYTES = 16
_PART_BYTES = 256 << 10
_BOUNDS = "bounds"


@dataclasses.dataclass(frozen=True)
class Run:
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
    block: Block

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


def write(path: epath.Path, block: Block, hashes: np.ndarray) -> None:
    """Writes a block's examples, and their ids' hashes, as a run; whole, or not at all."""
    order = order_of(hashes, block.ids)
    hashes = hashes[order]
    images = block.images[order].reshape(len(block), -1)
    digests = [hashlib.blake2b(row, digest_size=_DIGEST_BYTES).digest() for row in images]
    bounds = _part_bounds(hashes, images.nbytes)
    batch = pa.record_batch(
        {
            "hash": pa.array(hashes),
            "digest": _fixed_size(b"".join(digests), _DIGEST_BYTES),
            "label": pa.array(block.labels[order]),
            "id": pa.array([block.ids[row] for row in order], pa.string()),
            "image": _fixed_size(images, images.shape[1]),
        }
    )
    schema = batch.schema.with_metadata({_BOUNDS: json.dumps(bounds)})
    with (
        artifacts.written_whole(path) as temporary,
        temporary.open("wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        for start, stop in itertools.pairwise(bounds):
            writer.write_batch(batch.slice(start, stop - start))


def read(path: epath.Path, shape: Shape, low: int, high: int) -> Rows:
    """The examples of a run, of images of `shape`, whose hashes lie in [low, high)."""
    with _opened(path) as reader:
        bounds = json.loads(reader.schema.metadata[_BOUNDS.encode()])
        width = HASHES // (len(bounds) - 1)
        parts = range(low // width, -(-high // width))
        batches = [reader.get_batch(part) for part in parts]
        hashes = np.concatenate([batch["hash"].to_numpy() for batch in batches])
        start = int(np.searchsorted(hashes, np.uint64(low)))
        stop = int(np.searchsorted(hashes, np.uint64(high - 1), side="right"))
        images = np.concatenate([_bytes(batch["image"]) for batch in batches])[start:stop]
        labels = np.concatenate([batch["label"].to_numpy() for batch in batches])[start:stop]
        ids = [each for batch in batches for each in batch["id"].to_pylist()][start:stop]
        block = Block(ids, images.reshape(-1, *shape), labels)
        return Rows(bounds[parts.start] + start, hashes[start:stop], block)


def hash_column(path: epath.Path) -> np.ndarray:
    """The hashes of a run's ids, uint64 [N]."""
    with _opened(path) as reader:
        return np.concatenate([batch["hash"].to_numpy() for batch in _batches(reader)])


def digest_column(path: epath.Path) -> np.ndarray:
    """The digests of a run's images, uint64 [N, 2]: equal where the pixels are."""
    with _opened(path) as reader:
        return np.concatenate([_bytes(batch["digest"]) for batch in _batches(reader)]).view("<u8")


def id_and_label_columns(path: epath.Path) -> tuple[list[str], np.ndarray]:
    """A run's ids and labels, in its order."""
    with _opened(path) as reader:
        batches = _batches(reader)
        ids = [each for batch in batches for each in batch["id"].to_pylist()]
        return ids, np.concatenate([batch["label"].to_numpy() for batch in batches])


@contextlib.contextmanager
def _opened(path: epath.Path) -> Iterator[pa.ipc.RecordBatchFileReader]:
    is_local = os.path.isfile(path)
    # Mapped to memory, a part of a local file costs no more than its own bytes.
    with pa.memory_map(os.fspath(path)) if is_local else path.open("rb") as file:
        yield pa.ipc.open_file(file)


def _batches(reader: pa.ipc.RecordBatchFileReader) -> list[pa.RecordBatch]:
    return [reader.get_batch(part) for part in range(reader.num_record_batches)]


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

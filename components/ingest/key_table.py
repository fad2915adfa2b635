"""The keys of examples: all that is needed to find duplicates, without the images.

A file of keys is divided into buckets, of which any one can be read without the others:

  index: for each bucket, and for the end of the last one, the first key and the first byte of ids.
  keys: those of all buckets, one after another.
  ids: in UTF-8, in the same order.

All numbers are little-endian.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from etils import epath

from components.base import artifacts, files
from components.ingest.run_file import open_run
from components.ingest.sorted_runs import SortedRun

# The hash of the id, the digest of the pixels, the label, the run and the row in it, and the end of
# the id among all ids of the table.
_KEY = np.dtype(
    [
        ("hash", "<u8"),
        ("digest", "<u8", 2),
        ("label", "<i8"),
        ("run", "<u4"),
        ("row", "<u8"),
        ("id_end", "<u8"),
    ]
)
_PIECE = 1 << 16  # keys or bytes that are read or written at once
_ENTRY = np.dtype([("key", "<u8"), ("id_byte", "<u8")])


@dataclasses.dataclass(frozen=True)
class KeyTable:
    """Keys of examples, held in memory.

    Attributes:
      keys: a structured array, shape [N], with the fields `hash` (of the id), `digest` (of the
        pixels, two numbers), `label`, `run` (index of the sorted run) and `row` (in that run).
      ids: the ids in UTF-8, joined.
    """

    keys: np.ndarray
    ids: bytes

    def __len__(self) -> int:
        return len(self.keys)

    def id_of(self, index: int) -> str:
        """The id of an example."""
        start = int(self.keys["id_end"][index - 1]) if index else 0
        return self.ids[start : int(self.keys["id_end"][index])].decode()

    def take(self, indices: np.ndarray) -> "KeyTable":
        """The examples with these indices, in their order."""
        ends = self.keys["id_end"]
        starts = np.concatenate([np.zeros(1, np.uint64), ends[:-1]])
        keys = self.keys[indices]
        keys["id_end"] = np.cumsum(ends[indices] - starts[indices])
        ids = []
        for first in range(0, len(indices), _PIECE):
            piece = indices[first : first + _PIECE]
            bounds = zip(starts[piece].tolist(), ends[piece].tolist(), strict=True)
            ids.append(b"".join([self.ids[start:end] for start, end in bounds]))
        return KeyTable(keys, b"".join(ids))


def concatenate(tables: Sequence[KeyTable]) -> KeyTable:
    """The examples of several tables."""
    if len(tables) == 1:
        return tables[0]
    keys = np.empty(sum(map(len, tables)), _KEY)
    start = id_bytes = 0
    for table in tables:
        part = keys[start : start + len(table)]
        part[:] = table.keys
        part["id_end"] += np.uint64(id_bytes)
        start += len(table)
        id_bytes += len(table.ids)
    return KeyTable(keys, b"".join([table.ids for table in tables]))


def read_runs(
    runs: Sequence[SortedRun], directory: epath.Path, hash_range: tuple[int, int]
) -> KeyTable:
    """Reads keys from sorted runs.

    Args:
      runs: the runs.
      directory: the directory of their files.
      hash_range: the first hash of the ids, and the end of the hashes.

    Raises:
      WorkError: a file is damaged.
    """
    tables = []
    for number, run in enumerate(runs):
        with open_run(directory / run.file) as reader:
            for first, found, ids in reader.read_keys(*hash_range):
                keys = np.empty(len(found), _KEY)
                for name in ("hash", "digest", "label", "id_end"):
                    keys[name] = found[name]
                keys["run"] = number
                keys["row"] = np.arange(first, first + len(found))
                tables.append(KeyTable(keys, ids))
    return concatenate(tables)


def write(path: epath.Path, table: KeyTable, buckets: np.ndarray, num_buckets: int) -> None:
    """Writes a file of keys, atomically.

    Args:
      path: the file.
      table: N keys.
      buckets: the bucket of each key: uint16, shape [N].
      num_buckets: number of buckets.
    """
    counts = np.bincount(buckets, minlength=num_buckets)
    if num_buckets > 1:
        table = table.take(np.argsort(buckets, kind="stable"))
    index = np.zeros(num_buckets + 1, _ENTRY)
    index["key"][1:] = counts.cumsum()
    ends = np.concatenate([np.zeros(1, np.uint64), table.keys["id_end"]])
    index["id_byte"] = ends[index["key"]]
    with artifacts.atomic_write(path) as temporary, temporary.open("wb") as file:
        for whole in (index, table.keys, np.frombuffer(table.ids, np.uint8)):
            # Piece by piece, since TensorFlow's file objects accept only bytes, which are a copy.
            for start in range(0, len(whole), _PIECE):
                file.write(whole[start : start + _PIECE].tobytes())


def read_bucket(path: epath.Path, bucket: int, num_buckets: int) -> KeyTable:
    """Reads a bucket of a file of keys."""
    with files.open_regular(path) as file:
        file.seek(bucket * _ENTRY.itemsize)
        first, last = np.frombuffer(file.read(2 * _ENTRY.itemsize), _ENTRY)
        file.seek(num_buckets * _ENTRY.itemsize)
        (end,) = np.frombuffer(file.read(_ENTRY.itemsize), _ENTRY)
        start_of_keys = file.tell()
        file.seek(start_of_keys + int(first["key"]) * _KEY.itemsize)
        size = int(last["key"] - first["key"]) * _KEY.itemsize
        keys = np.frombuffer(file.read(size), _KEY).copy()
        file.seek(start_of_keys + int(end["key"]) * _KEY.itemsize + int(first["id_byte"]))
        ids = file.read(int(last["id_byte"] - first["id_byte"]))
    keys["id_end"] -= first["id_byte"]
    return KeyTable(keys, ids)


def read_keys(path: epath.Path, num_buckets: int) -> np.ndarray:
    """Reads the keys of all buckets, without the ids: a structured array, shape [N]."""
    with files.open_regular(path) as file:
        file.seek(num_buckets * _ENTRY.itemsize)
        (end,) = np.frombuffer(file.read(_ENTRY.itemsize), _ENTRY)
        return np.frombuffer(file.read(int(end["key"]) * _KEY.itemsize), _KEY)

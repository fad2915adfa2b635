"""Rows of the sorted runs that are not written to any shard: the duplicates that were dropped.

A file holds those of a range of hashes, each with the hash of its id. So the writer of a shard,
which covers another range of hashes, reads only the files of the ranges that overlap it.
"""

from collections.abc import Sequence

import numpy as np
from etils import epath

from components.base import artifacts, files
from components.base.arithmetic import ceil_div
from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from pipeline.prepare.assignment import SplitShards

_ROW = np.dtype([("hash", "<u8"), ("run", "<u4"), ("row", "<u8")])


def write(path: epath.Path, keys: np.ndarray) -> None:
    """Writes the rows of a structured array with the fields `hash`, `run` and `row`, atomically."""
    rows = np.empty(len(keys), _ROW)
    for name in ("hash", "run", "row"):
        rows[name] = keys[name]
    with artifacts.atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(rows.tobytes())
        if len(rows):
            # The report of the task, which is written next, says that they are on disk.
            files.flush(path, file)


def read(path: epath.Path) -> np.ndarray:
    """Reads rows: a structured array with the fields `hash`, `run` and `row`, shape [N]."""
    with files.open_regular(path) as file:
        return np.frombuffer(file.read(), _ROW)


def within(hash_range: tuple[int, int], keys: np.ndarray) -> np.ndarray:
    """The elements of a structured array whose field `hash` is in a range."""
    low, high = hash_range
    if low >= high:
        return keys[:0]
    # By the last hash of the range, since its end may be 2**64, which is not a uint64.
    return keys[(keys["hash"] >= np.uint64(low)) & (keys["hash"] <= np.uint64(high - 1))]


def count(keys: np.ndarray, shards: SplitShards, is_in_split: np.ndarray) -> np.ndarray:
    """The number of keys in each shard of a split: int64, shape [shards].

    Args:
      keys: a structured array with the fields `hash` and `run`.
      shards: the shards.
      is_in_split: whether each run is of the shards' split of the source: bool, shape [runs].
    """
    hashes = within((shards.low, shards.high), keys[is_in_split[keys["run"]]])["hash"]
    # The outer bounds are left out: the last one may be 2**64, which is not a uint64.
    inner = np.array(shards.bounds[1:-1], np.uint64)
    return np.bincount(np.searchsorted(inner, hashes, "right"), minlength=shards.number)


def by_file(
    hash_range: tuple[int, int], paths: Sequence[epath.Path], runs: Sequence[SortedRun]
) -> dict[str, frozenset[int]]:
    """The rows in a range of hashes, by the name of the file of their run.

    Args:
      hash_range: the first hash, and the end of the hashes.
      paths: the files of all ranges, in order.
      runs: the listed runs.
    """
    low, high = hash_range
    first = low * len(paths) // NUM_HASHES
    end = ceil_div(high * len(paths), NUM_HASHES)
    rows: dict[int, set[int]] = {}
    for path in paths[first:end]:
        for _, run, row in within(hash_range, read(path)).tolist():
            rows.setdefault(run, set()).add(row)
    return {runs[run].file: frozenset(members) for run, members in rows.items()}

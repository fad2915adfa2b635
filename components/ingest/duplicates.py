"""Duplicates among the examples of sorted runs: examples with the same id, or with the same pixels.

The runs hold a hash of each id and a digest of each image. Equal hashes are searched for first, in
sorted arrays; only the few examples that share one are compared by their ids or whole digests.
"""

import collections
import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import IO

import numpy as np
from etils import epath

from components.base.arithmetic import ceil_div
from components.ingest import sorted_runs
from components.ingest.sorted_runs import SortedRun

# A bound on memory: this many hashes, on average, are sorted at once.
_HASHES_PER_PART = 4_000_000
# A bound on open files; above it, which is a billion hashes, the parts become larger.
_MAX_PARTS = 256

# Reads a column of uint64 values, shape [N], from the file of a run.
_ColumnReader = Callable[[epath.Path], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Duplicate:
    """One of several examples with equal ids or equal pixels.

    Attributes:
      run: the run that holds the example.
      row: its row in the run.
      id: its id.
      digest: the digest of its pixels, in two halves.
      hash: the hash of its id.
      label: its label.
    """

    run: SortedRun
    row: int
    id: str
    digest: tuple[int, int]
    hash: int
    label: int


def find_by_id(runs: Sequence[SortedRun], directory: epath.Path) -> list[list[Duplicate]]:
    """Finds the groups of examples that have the same id.

    Args:
      runs: the runs to search.
      directory: the directory with their files.
    """
    return _find_groups(
        runs, directory, read_column=sorted_runs.hash_column, key=lambda example: example.id
    )


def find_by_pixels(runs: Sequence[SortedRun], directory: epath.Path) -> list[list[Duplicate]]:
    """Finds the groups of examples that have the same pixels.

    Args:
      runs: the runs to search, all of the same image shape.
      directory: the directory with their files.
    """
    return _find_groups(
        runs,
        directory,
        read_column=lambda path: sorted_runs.digest_column(path)[:, 0],
        key=lambda example: example.digest,
    )


def _find_groups(
    runs: Sequence[SortedRun],
    directory: epath.Path,
    *,
    read_column: _ColumnReader,
    key: Callable[[Duplicate], Hashable],
) -> list[list[Duplicate]]:
    """Groups of examples with equal keys, among those with equal values in a column."""
    paths = [directory / run.file for run in runs]
    repeated = _repeated_values(paths, read_column, sum(run.rows for run in runs))
    groups: dict[Hashable, list[Duplicate]] = collections.defaultdict(list)
    if repeated.size:
        for run, path in zip(runs, paths, strict=True):
            rows = np.flatnonzero(np.isin(read_column(path), repeated))
            for example in _read_rows(run, path, rows):
                groups[key(example)].append(example)
    # Examples with the same hash may still have different keys.
    return [group for group in groups.values() if len(group) > 1]


def _repeated_values(
    paths: Sequence[epath.Path], read_column: _ColumnReader, num_values: int
) -> np.ndarray:
    """The values that occur more than once in a column of several runs.

    Of very many, only those with the same residue are compared at once, so that memory is bounded.
    They are divided into temporary files before, so that each column is read once.
    """
    num_parts = min(_MAX_PARTS, ceil_div(num_values, _HASHES_PER_PART))
    if num_parts <= 1:
        return _repeated(np.concatenate([np.zeros(0, np.uint64), *map(read_column, paths)]))
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(num_parts)]
        for path in paths:
            column = read_column(path)
            residues = (column % num_parts).astype(np.int64)
            ends = np.bincount(residues, minlength=num_parts).cumsum()[:-1]
            in_order = column[np.argsort(residues, kind="stable")]
            for part, values in zip(parts, np.split(in_order, ends), strict=True):
                part.write(values.tobytes())
        return np.concatenate([_repeated(_all_values(part)) for part in parts])


def _all_values(file: IO[bytes]) -> np.ndarray:
    file.seek(0)
    return np.frombuffer(file.read(), np.uint64)


def _repeated(values: np.ndarray) -> np.ndarray:
    """The values that occur more than once, in ascending order."""
    values = np.sort(values)
    return np.unique(values[1:][values[1:] == values[:-1]])


def _read_rows(run: SortedRun, path: epath.Path, rows: np.ndarray) -> Iterator[Duplicate]:
    """The examples at the given rows of a run."""
    if not rows.size:
        return
    hashes, digests = sorted_runs.hash_column(path), sorted_runs.digest_column(path)
    ids, labels = sorted_runs.id_and_label_columns(path)
    for row in rows.tolist():
        low, high = digests[row].tolist()
        yield Duplicate(run, row, ids[row], (low, high), int(hashes[row]), int(labels[row]))

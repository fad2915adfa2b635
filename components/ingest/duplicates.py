"""Duplicates among the examples of runs: the same id, or the same pixels, wherever they lie."""

import collections
import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
from etils import epath

from components.ingest import sorted_runs
from components.ingest.sorted_runs import SortedRun

# So many hashes are compared at a time, whatever there are in all: memory stays flat.
_COMPARED_AT_ONCE = 4_000_000


@dataclasses.dataclass(frozen=True)
class Twin:
    """An example that has a duplicate.

    Attributes:
      run: the run it lies in.
      row: its place there.
      id: its id.
      digest: of its pixels.
      hash: of its id.
      label: its class.
    """

    run: SortedRun
    row: int
    id: str
    digest: tuple[int, int]
    hash: int
    label: int


def of_ids(members: Sequence[SortedRun], directory: epath.Path) -> list[list[Twin]]:
    """Groups of examples that have one id."""
    return _groups(members, directory, column=sorted_runs.hash_column, key=lambda twin: twin.id)


def of_pixels(members: Sequence[SortedRun], directory: epath.Path) -> list[list[Twin]]:
    """Groups of examples that have the same pixels; the runs are all of one shape."""
    return _groups(
        members,
        directory,
        column=lambda path: sorted_runs.digest_column(path)[:, 0],
        key=lambda twin: twin.digest,
    )


def _groups(
    members: Sequence[SortedRun],
    directory: epath.Path,
    *,
    column: Callable[[epath.Path], np.ndarray],
    key: Callable[[Twin], Hashable],
) -> list[list[Twin]]:
    paths = [directory / run.file for run in members]
    repeated = _repeated(paths, column, sum(run.rows for run in members))
    groups: dict[Hashable, list[Twin]] = collections.defaultdict(list)
    if repeated.size:
        for run, path in zip(members, paths, strict=True):
            for twin in _at(run, path, np.flatnonzero(np.isin(column(path), repeated))):
                groups[key(twin)].append(twin)
    # Examples may share a hash and still differ.
    return [group for group in groups.values() if len(group) > 1]


def _repeated(
    paths: Sequence[epath.Path], column: Callable[[epath.Path], np.ndarray], total: int
) -> np.ndarray:
    """The values that a column has more than once, over all runs."""
    parts = max(1, -(-total // _COMPARED_AT_ONCE))
    repeated = [np.zeros(0, np.uint64)]
    for part in range(parts):
        columns = map(column, paths)
        values = np.concatenate([each[each % parts == part] for each in columns])
        values.sort()
        repeated.append(np.unique(values[1:][values[1:] == values[:-1]]))
    return np.concatenate(repeated)


def _at(run: SortedRun, path: epath.Path, rows: np.ndarray) -> Iterator[Twin]:
    """The examples at some rows of a run."""
    if not rows.size:
        return
    hashes, digests = sorted_runs.hash_column(path), sorted_runs.digest_column(path)
    ids, labels = sorted_runs.id_and_label_columns(path)
    for row in rows.tolist():
        low, high = digests[row].tolist()
        yield Twin(run, row, ids[row], (low, high), int(hashes[row]), int(labels[row]))

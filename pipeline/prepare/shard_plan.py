"""From runs to shards: which shape is kept, which duplicates go, and where each shard ends."""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base.shapes import Shape
from components.data.prepared_dataset import shard_name
from components.ingest import duplicates, sorted_runs
from components.ingest.duplicates import Twin
from components.ingest.ledger import Reason, Rejected
from components.ingest.sorted_runs import HASHES, SortedRun
from pipeline.prepare.messages import ReadReport, WriteTask

# A leak between splits is mended where it harms least: evaluation sets stay as they are.
_KEPT_FIRST = ("test", "validation", "train")
# With fewer examples a shard, chance would leave some shards empty.
_LEAST_EXAMPLES_A_SHARD = 16


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which split and shard an example goes to: a function of its id's hash.

    Attributes:
      validation_fraction: how much of `train` becomes `validation`; the lowest hashes.
      shard_bytes: target size of a shard.
    """

    validation_fraction: float
    shard_bytes: int

    @property
    def _cut(self) -> int:
        return int(self.validation_fraction * HASHES)

    def ranges(self, source_split: str) -> dict[str, tuple[int, int]]:
        """The ranges of hashes that one of the source's splits is cut into, by split."""
        if source_split != "train" or not self._cut:
            return {source_split: (0, HASHES)}
        return {"train": (self._cut, HASHES), "validation": (0, self._cut)}

    def split_of(self, twin: Twin) -> str:
        for split, (low, high) in self.ranges(twin.run.split).items():
            if low <= twin.hash < high:
                return split
        raise AssertionError(twin)


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """What is to be written.

    Attributes:
      tasks: the shards.
      dropped: rows that are left out of them, by the run's file.
      rejected: those rows as rejected inputs, each with the number of its slice.
      duplicates: inputs with the same pixels, group by group, as duplicates.jsonl lists them.
    """

    tasks: list[WriteTask]
    dropped: dict[str, frozenset[int]]
    rejected: list[tuple[int, Rejected]]
    duplicates: list[list[dict[str, str]]]


def common_shape(reports: Sequence[ReadReport]) -> Shape | None:
    """The shape that most images have; of equally common ones the largest. None: no image."""
    totals: collections.Counter[Shape] = collections.Counter()
    for report in reports:
        for run in report.runs:
            totals[run.shape] += run.rows
    return max(totals, key=lambda shape: (totals[shape], math.prod(shape), shape), default=None)


def plan_shards(
    members: Sequence[SortedRun],
    scratch: epath.Path,
    *,
    assignment: Assignment,
    drop_duplicates: bool,
    dataset: str,
) -> ShardPlan:
    """Plans the shards of `members`, the runs of one shape, which lie in `scratch`.

    Inputs with an id that another has are left out, as are those with pixels that another has if
    `drop_duplicates`; one of each group stays.
    """
    rejected: dict[tuple[str, int], tuple[int, Rejected]] = {}

    def reject(twin: Twin, reason: Reason, detail: str) -> None:
        item = Rejected(twin.id, twin.run.split, twin.label, reason, detail)
        rejected[twin.run.file, twin.row] = (twin.run.slice, item)

    def rank(twin: Twin) -> tuple[Any, ...]:
        place = (twin.run.slice, twin.run.file, twin.row)
        return (_KEPT_FIRST.index(assignment.split_of(twin)), twin.id, twin.digest, *place)

    for group in duplicates.of_ids(members, scratch):
        for twin in sorted(group, key=rank)[1:]:
            reject(twin, Reason.DUPLICATE_KEY, f"another input has the id {twin.id}")
    groups = []
    for group in duplicates.of_pixels(members, scratch):
        twins = [t for t in sorted(group, key=rank) if (t.run.file, t.row) not in rejected]
        if len(twins) > 1:
            groups.append([{"id": t.id, "split": assignment.split_of(t)} for t in twins])
        if drop_duplicates:
            for twin in twins[1:]:
                reject(twin, Reason.DUPLICATE_CONTENT, f"the same pixels as {twins[0].id}")
    dropped: dict[str, set[int]] = collections.defaultdict(set)
    for file, row in rejected:
        dropped[file].add(row)
    return ShardPlan(
        tasks=list(_tasks(members, scratch, dropped, assignment, dataset)),
        dropped={file: frozenset(rows) for file, rows in dropped.items()},
        rejected=list(rejected.values()),
        duplicates=sorted(groups, key=lambda group: (group[0]["split"], group[0]["id"])),
    )


def _tasks(
    members: Sequence[SortedRun],
    scratch: epath.Path,
    dropped: Mapping[str, set[int]],
    assignment: Assignment,
    dataset: str,
) -> Iterator[WriteTask]:
    """One task a shard, for every split that has examples."""
    for source_split in sorted({run.split for run in members}):
        files = {
            scratch / run.file: list(dropped.get(run.file, ()))
            for run in members
            if run.split == source_split
        }
        for split, (low, high) in assignment.ranges(source_split).items():
            (examples,) = _counts(files, [low, high])
            wanted = math.ceil(examples * math.prod(members[0].shape) / assignment.shard_bytes)
            num_shards = max(1, min(wanted, examples // _LEAST_EXAMPLES_A_SHARD))
            bounds = _bounds(low, high, num_shards)
            while not all(counts := _counts(files, bounds)) and num_shards > 1:
                num_shards -= 1
                bounds = _bounds(low, high, num_shards)
            for shard, count in enumerate(counts):
                if count:
                    file = shard_name(dataset, split, shard, num_shards)
                    ends = bounds[shard], bounds[shard + 1]
                    yield WriteTask(split, source_split, file, *ends, examples=count)


def _bounds(low: int, high: int, parts: int) -> list[int]:
    """The ends of the equal parts of a range."""
    return [low + (high - low) * part // parts for part in range(parts + 1)]


def _counts(files: Mapping[epath.Path, list[int]], bounds: list[int]) -> list[int]:
    """How many examples lie between each two bounds, in runs without their dropped rows."""
    below = np.zeros(len(bounds), np.int64)
    for path, dropped in files.items():
        hashes = np.delete(sorted_runs.hash_column(path), dropped)
        # The last hash is asked for, since one past it is no uint64.
        last = np.array([max(bound, 1) - 1 for bound in bounds], np.uint64)
        below += np.where(np.array(bounds) == 0, 0, np.searchsorted(hashes, last, "right"))
    return np.diff(below).tolist()

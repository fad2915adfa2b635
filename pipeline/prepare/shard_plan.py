"""The plan of the shards: the images' shape, the duplicates, and the bounds of each shard."""

import collections
import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base.arithmetic import ceil_div
from components.base.shapes import Shape
from components.data.dataset_counts import DuplicateCounts
from components.data.tfds_metadata import shard_name
from components.ingest.ledger import InputTally
from components.ingest.sorted_runs import SortedRun
from pipeline.prepare import deduplication, listing, reports
from pipeline.prepare.assignment import Assignment, SplitShards
from pipeline.prepare.deduplication import IDS, PIXELS
from pipeline.prepare.messages import (
    CountReport,
    RangeReport,
    RangeTask,
    SliceSummary,
    WriteTask,
)

# In smaller shards the number of examples varies widely, and some shards would have none.
_MIN_SHARD_EXAMPLES = 16

# A function with the arguments of `run_here`, which may run the tasks on workers.
RunRanges = Callable[..., None]


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """The shards to write, and the duplicates.

    Attributes:
      tasks: one task per shard.
      ranges: the number of ranges in which duplicates were searched for.
      rejected: tally of the examples that are in no shard, by the source's split.
      duplicates: the number of images that occur more than once.
      first: the first inputs with the same pixels; empty if there are none.
    """

    tasks: list[WriteTask]
    ranges: int
    rejected: dict[str, InputTally]
    duplicates: DuplicateCounts
    first: list[dict[str, str]]


def common_shape(slices: Sequence[SliceSummary]) -> Shape | None:
    """The most common shape of the images; the largest one of equally common shapes.

    Returns:
      (height, width, channels), or None if there is no image.
    """
    totals: Counter[Shape] = Counter()
    for summary in slices:
        for run in summary.runs:
            totals[run.shape] += run.rows
    return max(totals, key=lambda shape: (totals[shape], math.prod(shape), shape), default=None)


def run_here(
    folder: epath.Path, tasks: Sequence[RangeTask], function: Callable[..., Any], *arguments: Any
) -> None:
    """Runs a function of `pipeline.prepare.deduplication` for each task, in this process.

    Args:
      folder: the folder for the reports.
      tasks: the tasks.
      function: the function.
      arguments: its other arguments.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        function(task, *arguments)


def plan_shards(
    runs: Sequence[SortedRun],
    work_dir: epath.Path,
    *,
    assignment: Assignment,
    drop_duplicates: bool,
    dataset: str,
    run_ranges: RunRanges = run_here,
) -> ShardPlan:
    """Plans the shards of a dataset.

    Of several inputs with the same id, all but one are dropped.

    Args:
      runs: the sorted runs of images that have the dataset's shape.
      work_dir: directory of the runs.
      assignment: the rule that assigns examples to splits and shards.
      drop_duplicates: whether to drop all but one of several inputs with the same pixels.
      dataset: name of the dataset, for the names of the shards.
      run_ranges: runs the tasks that compare examples.
    """
    listing.write_runs(runs, work_dir)
    ranges = deduplication.num_ranges(sum(run.rows for run in runs))
    tasks = [RangeTask(number, ranges) for number in range(ranges)]
    run_ranges(work_dir / IDS, tasks, deduplication.compare_ids, assignment, work_dir)
    run_ranges(
        *(work_dir / PIXELS, tasks, deduplication.compare_pixels),
        *(assignment, drop_duplicates, work_dir),
    )
    by_pixels = deduplication.load_reports(PIXELS, work_dir)
    found = [*deduplication.load_reports(IDS, work_dir), *by_pixels]
    rejected: dict[str, InputTally] = collections.defaultdict(InputTally)
    for report in found:
        for split, tally in report.rejected.items():
            rejected[split] += tally
    first = min(
        (report.first for report in by_pixels if report.first),
        key=deduplication.group_order,
        default=[],
    )
    return ShardPlan(
        tasks=list(
            _write_tasks(
                _cut_into_shards(runs, by_pixels, tasks, assignment, work_dir, run_ranges), dataset
            )
        ),
        ranges=ranges,
        rejected=dict(rejected),
        duplicates=_count_duplicates(by_pixels),
        first=first,
    )


def _count_duplicates(found: Sequence[RangeReport]) -> DuplicateCounts:
    by_splits: Counter[str] = Counter()
    for report in found:
        by_splits.update(report.duplicates)
    return DuplicateCounts(images=by_splits.total(), by_splits=dict(sorted(by_splits.items())))


def _cut_into_shards(
    runs: Sequence[SortedRun],
    by_pixels: Sequence[RangeReport],
    tasks: Sequence[RangeTask],
    assignment: Assignment,
    work_dir: epath.Path,
    run_ranges: RunRanges,
) -> list[tuple[SplitShards, list[int]]]:
    """Cuts the hashes of every split into shards, none of them empty.

    Returns:
      The shards of each split that has examples, and the number of examples in each shard.
    """
    totals: Counter[str] = Counter()
    for report in by_pixels:
        totals.update(report.kept)
    image_bytes = math.prod(runs[0].shape)
    shards = []
    for source_split in sorted({run.split for run in runs}):
        for split, hash_range in assignment.ranges(source_split).items():
            wanted = ceil_div(totals[split] * image_bytes, assignment.shard_bytes)
            number = max(1, min(wanted, totals[split] // _MIN_SHARD_EXAMPLES))
            if totals[split]:
                shards.append(SplitShards(split, source_split, *hash_range, number))
    while True:
        counts = _count(shards, tasks, work_dir, run_ranges)
        if all(map(all, counts)):
            return list(zip(shards, counts, strict=True))
        shards = [
            part if all(members) else dataclasses.replace(part, number=part.number - 1)
            for part, members in zip(shards, counts, strict=True)
        ]


def _count(
    shards: Sequence[SplitShards],
    tasks: Sequence[RangeTask],
    work_dir: epath.Path,
    run_ranges: RunRanges,
) -> list[list[int]]:
    """The number of examples in each shard of each split."""
    folder = deduplication.counts_folder(shards, work_dir)
    run_ranges(folder, tasks, deduplication.count_examples, tuple(shards), work_dir)
    counts = [np.zeros(part.number, np.int64) for part in shards]
    for report in reports.load_all(folder, CountReport.from_json):
        for totals, (first, members) in zip(counts, report.counts, strict=True):
            totals[first : first + len(members)] += np.array(members, np.int64)
    return [totals.tolist() for totals in counts]


def _write_tasks(
    shards: Sequence[tuple[SplitShards, Sequence[int]]], dataset: str
) -> Iterator[WriteTask]:
    """Yields one task per shard."""
    for part, counts in shards:
        for shard, (low, high) in enumerate(itertools.pairwise(part.bounds)):
            file = shard_name(dataset, part.split, shard, part.number)
            yield WriteTask(part.split, part.source_split, file, low, high, counts[shard])

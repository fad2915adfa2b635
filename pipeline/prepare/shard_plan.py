"""The plan of the shards: the dataset's image shape, its duplicates, and the bounds of each shard.

An example's split and shard depend only on the hash of its id. So the same example is in the same
place with every runner and worker, and it stays in its split when the dataset grows.
"""

import bisect
import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base.arithmetic import ceil_div
from components.base.shapes import Shape
from components.data.tfds_metadata import shard_name
from components.ingest import duplicates, sorted_runs
from components.ingest.duplicates import Duplicate
from components.ingest.rejection import Reason, Rejected
from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from pipeline.prepare.messages import SliceSummary, WriteTask

# The split that keeps an image that is in several splits. Duplicates are dropped from train first,
# so that the evaluation sets stay complete.
_SPLIT_PRIORITY = ("test", "validation", "train")
# In smaller shards the number of examples varies widely, and some shards would have none.
_MIN_SHARD_EXAMPLES = 16


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The rule that assigns examples to splits and shards by the hashes of their ids.

    Attributes:
      validation_fraction: fraction of `train` that becomes `validation`: the lowest hashes.
      shard_bytes: target size of a shard, in bytes of pixels.
    """

    validation_fraction: float
    shard_bytes: int

    def ranges(self, source_split: str) -> dict[str, tuple[int, int]]:
        """The splits that a split of the source becomes, each with its range of hashes."""
        bound = int(self.validation_fraction * NUM_HASHES)
        if source_split != "train" or not bound:
            return {source_split: (0, NUM_HASHES)}
        return {"train": (bound, NUM_HASHES), "validation": (0, bound)}

    def split_of(self, example: Duplicate) -> str:
        """The split of an example."""
        for split, (low, high) in self.ranges(example.run.split).items():
            if low <= example.hash < high:
                return split
        raise AssertionError(example)


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """The shards to write, and the duplicates.

    Attributes:
      tasks: one task per shard.
      rejected: the examples that are in no shard, each with the number of its slice.
      duplicates: groups of inputs with the same pixels, as in duplicates.jsonl.
    """

    tasks: list[WriteTask]
    rejected: list[tuple[int, Rejected]]
    duplicates: list[list[dict[str, str]]]


def common_shape(reports: Sequence[SliceSummary]) -> Shape | None:
    """The most common shape of the images; the largest one of equally common shapes.

    Returns:
      (height, width, channels), or None if there is no image.
    """
    totals: collections.Counter[Shape] = collections.Counter()
    for report in reports:
        for run in report.runs:
            totals[run.shape] += run.rows
    return max(totals, key=lambda shape: (totals[shape], math.prod(shape), shape), default=None)


def plan_shards(
    runs: Sequence[SortedRun],
    work_dir: epath.Path,
    *,
    assignment: Assignment,
    drop_duplicates: bool,
    dataset: str,
) -> ShardPlan:
    """Plans the shards of a dataset.

    Of several inputs with the same id, all but one are dropped.

    Args:
      runs: the sorted runs of images that have the dataset's shape.
      work_dir: directory of the runs.
      assignment: the rule that assigns examples to splits and shards.
      drop_duplicates: whether to drop all but one of several inputs with the same pixels.
      dataset: name of the dataset, for the names of the shards.
    """
    rejected: dict[tuple[str, int], tuple[Duplicate, Rejected]] = {}  # by run file and row

    def reject(example: Duplicate, reason: Reason, detail: str) -> None:
        item = Rejected(example.id, example.run.split, example.label, reason, detail)
        rejected[example.run.file, example.row] = (example, item)

    def priority(example: Duplicate) -> tuple[Any, ...]:
        # Ids and digests come before the place in the source, so that the choice does not depend
        # on how the source was cut into slices.
        split = _SPLIT_PRIORITY.index(assignment.split_of(example))
        row = (example.run.slice, example.run.file, example.row)
        return (split, example.id, example.digest, *row)

    for group in duplicates.find_by_id(runs, work_dir):
        for example in sorted(group, key=priority)[1:]:
            reject(example, Reason.DUPLICATE_KEY, f"another input has the id {example.id}")
    groups = []
    for group in duplicates.find_by_pixels(runs, work_dir):
        # An input that was dropped for its id no longer counts as a duplicate of others.
        remaining = [
            example
            for example in sorted(group, key=priority)
            if (example.run.file, example.row) not in rejected
        ]
        if len(remaining) > 1:
            groups.append([{"id": e.id, "split": assignment.split_of(e)} for e in remaining])
        if drop_duplicates:
            for example in remaining[1:]:
                detail = f"the same pixels as {remaining[0].id}"
                reject(example, Reason.DUPLICATE_CONTENT, detail)
    dropped = [example for example, _ in rejected.values()]
    return ShardPlan(
        tasks=list(_write_tasks(runs, work_dir, dropped, assignment, dataset)),
        rejected=[(example.run.slice, item) for example, item in rejected.values()],
        duplicates=sorted(groups, key=lambda group: (group[0]["split"], group[0]["id"])),
    )


def _write_tasks(
    runs: Sequence[SortedRun],
    work_dir: epath.Path,
    dropped: Sequence[Duplicate],
    assignment: Assignment,
    dataset: str,
) -> Iterator[WriteTask]:
    """Yields one task per shard, for every split that has examples."""
    image_bytes = math.prod(runs[0].shape)
    for source_split in sorted({run.split for run in runs}):
        dropped_here = _Dropped(example for example in dropped if example.run.split == source_split)
        dropped_rows = {
            work_dir / run.file: list(dropped_here.rows.get(run.file, ()))
            for run in runs
            if run.split == source_split
        }
        for split, hash_range in assignment.ranges(source_split).items():
            bounds, counts = _shard_bounds(
                dropped_rows, hash_range, image_bytes, assignment.shard_bytes
            )
            for shard, (low, high) in enumerate(itertools.pairwise(bounds)):
                # A split without examples has one range and no shard.
                if counts[shard]:
                    file = shard_name(dataset, split, shard, len(counts))
                    yield WriteTask(
                        *(split, source_split, file, low, high),
                        examples=counts[shard],
                        dropped=dropped_here.between(low, high),
                    )


class _Dropped:
    """Examples that are in no shard.

    Attributes:
      rows: their rows, by the file of their run.
    """

    def __init__(self, examples: Iterable[Duplicate]):
        self._examples = sorted(examples, key=lambda example: example.hash)
        self._hashes = [example.hash for example in self._examples]
        self.rows = _rows_by_file(self._examples)

    def between(self, low: int, high: int) -> dict[str, frozenset[int]]:
        """The rows of the examples with hashes in [low, high), by the file of their run."""
        start, stop = (bisect.bisect_left(self._hashes, bound) for bound in (low, high))
        return _rows_by_file(self._examples[start:stop])


def _rows_by_file(examples: Iterable[Duplicate]) -> dict[str, frozenset[int]]:
    rows: dict[str, set[int]] = collections.defaultdict(set)
    for example in examples:
        rows[example.run.file].add(example.row)
    return {file: frozenset(found) for file, found in rows.items()}


def _shard_bounds(
    dropped_rows: Mapping[epath.Path, list[int]],
    hash_range: tuple[int, int],
    image_bytes: int,
    shard_bytes: int,
) -> tuple[list[int], list[int]]:
    """Cuts a range of hashes into equal parts, one per shard, none of them empty.

    Args:
      dropped_rows: the runs to count examples in, each with the rows that do not count.
      hash_range: the first hash and the end of the range.
      image_bytes: size of an image.
      shard_bytes: target size of a shard.

    Returns:
      The bounds of the parts, and the number of examples in each part.
    """
    (examples,) = _count_examples(dropped_rows, list(hash_range))
    wanted = ceil_div(examples * image_bytes, shard_bytes)
    num_shards = max(1, min(wanted, examples // _MIN_SHARD_EXAMPLES))
    low, high = hash_range
    while True:
        bounds = [low + (high - low) * shard // num_shards for shard in range(num_shards + 1)]
        counts = _count_examples(dropped_rows, bounds)
        if all(counts) or num_shards == 1:
            return bounds, counts
        num_shards -= 1


def _count_examples(
    dropped_rows: Mapping[epath.Path, list[int]], bounds: Sequence[int]
) -> list[int]:
    """The number of examples between each two neighboring bounds, over all runs."""
    # The last hash below each bound: a bound itself may be 2**64, which is not a uint64.
    last = np.array([max(bound, 1) - 1 for bound in bounds], np.uint64)
    below = np.zeros(len(bounds), np.int64)
    for path, rows in dropped_rows.items():
        hashes = np.delete(sorted_runs.hash_column(path), rows)
        # No hash is below a bound of 0.
        below += np.where(np.array(bounds) == 0, 0, np.searchsorted(hashes, last, "right"))
    return np.diff(below).tolist()

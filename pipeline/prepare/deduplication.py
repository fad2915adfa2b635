"""The functions that prepare's workers run to find duplicates and to count the examples of shards.

Three passes look at the keys of all examples, without their images:

1. A task has a range of the hashes of ids. It drops all but one of the examples with the same id,
   and divides the keys of the others by the digests of their pixels.
2. A task has a range of these digests. It finds the examples with the same pixels.
3. A task has a range of hashes again. It collects what was dropped there, and counts the examples
   of each shard.

So each pass reads every key once, no task holds more than its range, and the driver sees only
counts. As in `pipeline.prepare.workers`, each task leaves a report, and a task whose report exists
returns at once.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base import json_lines
from components.base.arithmetic import ceil_div
from components.data.examples import SPLITS
from components.ingest import duplicates, key_table
from components.ingest.key_table import KeyTable
from components.ingest.ledger import InputTally
from components.ingest.rejection import Reason, Rejected
from components.ingest.sorted_runs import SortedRun
from pipeline.prepare import dropped_rows, listing, rejections, reports
from pipeline.prepare.assignment import Assignment, SplitShards
from pipeline.prepare.messages import CountReport, RangeReport, RangeTask

# The folders of the work directory that hold the reports and files of the passes.
IDS = "ids"
PIXELS = "pixels"
COUNTS = "counts"

_FOUND = ("dropped", "rejected", "groups")  # The kinds of files that the first two passes write.

# The split that keeps an image that is in several splits. Duplicates are dropped from train first,
# so that the evaluation sets stay complete.
_SPLIT_PRIORITY = ("test", "validation", "train")
# A bound on memory: a task holds this many keys, on average.
_KEYS_PER_RANGE = 1 << 19
# The first pass divides each range into as many buckets as there are ranges, so more ranges would
# make tiny buckets. Above half a billion examples, the ranges become larger instead.
_MAX_RANGES = 1024


def num_ranges(num_examples: int) -> int:
    """The number of ranges to divide the hashes and digests of some examples into."""
    return min(_MAX_RANGES, max(1, ceil_div(num_examples, _KEYS_PER_RANGE)))


def compare_ids(task: RangeTask, assignment: Assignment, work_dir: epath.Path) -> dict[str, int]:
    """Drops all but one of the examples with the same id, in a range of the hashes of ids.

    Args:
      task: the range.
      assignment: the rule that assigns examples to splits.
      work_dir: the work directory, with the listing of the sorted runs.

    Returns:
      No counters.

    Raises:
      WorkError: a run is damaged.
    """
    key_file = _file(IDS, task.number, "keys", work_dir)
    if _is_done(IDS, task, work_dir, [key_file]):
        return {}
    runs = listing.read_runs(work_dir)
    examples = _Examples(key_table.read_runs(runs, work_dir, task.hash_range), runs, assignment)
    dropped = {
        index: (Reason.DUPLICATE_KEY, f"another input has the id {examples.table.id_of(index)}")
        for group in duplicates.same_ids(examples.table)
        for index in sorted(group, key=examples.priority)[1:]
    }
    table = examples.table.take(examples.without(dropped)) if dropped else examples.table
    # The upper half of a digest, so that the product fits 64 bits.
    ranges = (table.keys["digest"][:, 0] >> 32) * np.uint64(task.ranges) >> 32
    key_table.write(key_file, table, ranges.astype(np.uint16), task.ranges)
    _finish(IDS, task, examples, dropped, [], work_dir, [key_file])
    return {}


def compare_pixels(
    task: RangeTask, assignment: Assignment, drop_duplicates: bool, work_dir: epath.Path
) -> dict[str, int]:
    """Lists the examples with the same pixels, in a range of digests.

    Args:
      task: the range.
      assignment: the rule that assigns examples to splits.
      drop_duplicates: whether to drop all but one of several examples with the same pixels.
      work_dir: the work directory, after `compare_ids` for every range.

    Returns:
      No counters.
    """
    if _is_done(PIXELS, task, work_dir, []):
        return {}
    table = key_table.concatenate(
        [
            key_table.read_bucket(_file(IDS, number, "keys", work_dir), task.number, task.ranges)
            for number in range(task.ranges)
        ]
    )
    examples = _Examples(table, listing.read_runs(work_dir), assignment)
    groups = [sorted(group, key=examples.priority) for group in duplicates.same_pixels(table)]
    dropped = {
        index: (Reason.DUPLICATE_CONTENT, f"the same pixels as {table.id_of(group[0])}")
        for group in groups
        for index in group[1:]
        if drop_duplicates
    }
    _finish(PIXELS, task, examples, dropped, groups, work_dir, [])
    return {}


def count_examples(
    task: RangeTask, shards: Sequence[SplitShards], work_dir: epath.Path
) -> dict[str, int]:
    """Collects what was dropped in a range of hashes, and counts the examples of each shard there.

    Args:
      task: the range.
      shards: the shards of every split.
      work_dir: the work directory, after `compare_pixels` for every range.

    Returns:
      No counters.
    """
    report_file = counts_folder(shards, work_dir) / f"{task.number:04d}.json"
    path = _file(COUNTS, task.number, "dropped", work_dir)
    if reports.load(report_file, CountReport.from_json, of=[path]):
        return {}
    runs = listing.read_runs(work_dir)
    same_ids = dropped_rows.read(_file(IDS, task.number, "dropped", work_dir))
    found = (
        dropped_rows.read(_file(PIXELS, number, "dropped", work_dir))
        for number in range(task.ranges)
    )
    same_pixels = np.concatenate([dropped_rows.within(task.hash_range, rows) for rows in found])
    dropped_rows.write(path, np.concatenate([same_ids, same_pixels]))
    # `compare_ids` left the examples that it dropped out of these keys.
    keys = key_table.read_keys(_file(IDS, task.number, "keys", work_dir), task.ranges)
    counts = []
    for part in shards:
        is_in_split = np.array([run.split == part.source_split for run in runs])
        kept, gone = (dropped_rows.count(each, part, is_in_split) for each in (keys, same_pixels))
        counts.append(kept - gone)
    reports.write(report_file, CountReport.of(task.number, counts).as_json(), of=[path])
    return {}


def load_reports(folder: str, work_dir: epath.Path) -> list[RangeReport]:
    """The reports of `compare_ids` (IDS) or of `compare_pixels` (PIXELS) for all ranges."""
    return reports.load_all(work_dir / folder, RangeReport.from_json)


def counts_folder(shards: Sequence[SplitShards], work_dir: epath.Path) -> epath.Path:
    """The folder for the reports of `count_examples`."""
    return work_dir / COUNTS / "-".join(str(part.number) for part in shards)


def dropped_files(ranges: int, work_dir: epath.Path) -> list[epath.Path]:
    """The files of `dropped_rows` that `count_examples` wrote, in the order of the ranges."""
    return [_file(COUNTS, number, "dropped", work_dir) for number in range(ranges)]


def rejected_files(ranges: int, work_dir: epath.Path) -> list[epath.Path]:
    """The lists of the examples that were dropped, each in the order of the quarantine."""
    return [
        _file(folder, number, "rejected", work_dir)
        for folder in (IDS, PIXELS)
        for number in range(ranges)
    ]


def write_groups(path: epath.Path, ranges: int, work_dir: epath.Path) -> None:
    """Writes the list of the examples with the same pixels, duplicates.jsonl."""
    lists = [_file(PIXELS, number, "groups", work_dir) for number in range(ranges)]
    json_lines.write(path, json_lines.merged(lists, group_order, work_dir / "groups"))


def group_order(group: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """The sort key of the groups in duplicates.jsonl: split and id of the first input."""
    return group[0]["split"], group[0]["id"]


@dataclasses.dataclass(frozen=True)
class _Examples:
    """The examples that a task compares.

    Attributes:
      table: their keys.
      runs: the runs that `table` refers to.
      assignment: the rule that assigns examples to splits.
    """

    table: KeyTable
    runs: Sequence[SortedRun]
    assignment: Assignment

    def run_of(self, index: int) -> SortedRun:
        """The run that holds an example."""
        return self.runs[self.table.keys["run"][index]]

    def split_of(self, index: int) -> str:
        """The split that an example belongs to."""
        id_hash = int(self.table.keys["hash"][index])
        return self.assignment.split_of(self.run_of(index).split, id_hash)

    def priority(self, index: int) -> tuple[Any, ...]:
        """The sort key of duplicates, of which the first one is kept."""
        # Ids and digests come before the place in the source, so that the choice does not depend
        # on how the source was cut into slices.
        key, run = self.table.keys[index], self.run_of(index)
        place = (run.slice, run.file, int(key["row"]))
        split = _SPLIT_PRIORITY.index(self.split_of(index))
        return (split, self.table.id_of(index), tuple(key["digest"].tolist()), *place)

    def without(self, dropped: Iterable[int]) -> np.ndarray:
        """The indices of all examples but the dropped ones."""
        return np.delete(np.arange(len(self.table)), list(dropped))

    def rejected(self, index: int, reason: Reason, detail: str) -> Rejected:
        """The entry of an example in the quarantine."""
        label = int(self.table.keys["label"][index])
        return Rejected(self.table.id_of(index), self.run_of(index).split, label, reason, detail)

    def described(self, group: Iterable[int]) -> list[dict[str, str]]:
        """Examples with the same pixels, as in duplicates.jsonl."""
        return [{"id": self.table.id_of(index), "split": self.split_of(index)} for index in group]


def _is_done(
    folder: str, task: RangeTask, work_dir: epath.Path, others: Sequence[epath.Path]
) -> bool:
    """Whether there are the files that `_finish` writes, its report, and the `others`."""
    path = _file(folder, task.number, "json", work_dir)
    found = [_file(folder, task.number, kind, work_dir) for kind in _FOUND]
    return reports.load(path, RangeReport.from_json, of=[*found, *others]) is not None


def _finish(
    folder: str,
    task: RangeTask,
    examples: _Examples,
    dropped: Mapping[int, tuple[Reason, str]],
    groups: Iterable[Sequence[int]],
    work_dir: epath.Path,
    others: Sequence[epath.Path],
) -> None:
    """Writes the files of a task, and last its report, which describes `others` too."""
    files = [_file(folder, task.number, kind, work_dir) for kind in _FOUND]
    dropped_file, rejected_file, groups_file = files
    indices = np.array(list(dropped), np.int64)
    dropped_rows.write(dropped_file, examples.table.keys[indices])
    tallies: dict[str, InputTally] = {}
    rejected = []
    for index, why in dropped.items():
        item = examples.rejected(index, *why)
        tally = tallies.setdefault(item.split, InputTally())
        tally.add(examples.table.keys["hash"][[index]], [item.label], reason=item.reason)
        rejected.append(dataclasses.asdict(item))
    described = sorted(map(examples.described, groups), key=group_order)
    rejected.sort(key=rejections.order)
    json_lines.write(rejected_file, rejected, durable=bool(rejected))
    json_lines.write(groups_file, described, durable=bool(described))
    report = RangeReport(
        task.number,
        kept=_count_splits(examples, dropped),
        rejected=tallies,
        duplicates=dict(Counter(map(_splits_of, described))),
        first=described[0][:3] if described else [],
    )
    path = _file(folder, task.number, "json", work_dir)
    reports.write(path, report.as_json(), of=[*files, *others])


def _splits_of(group: Iterable[Mapping[str, str]]) -> str:
    """The splits of a group, such as `train+test`."""
    found = {image["split"] for image in group}
    return "+".join(split for split in SPLITS if split in found)


def _count_splits(examples: _Examples, dropped: Iterable[int]) -> dict[str, int]:
    """The number of examples of each split that are not dropped."""
    keys = examples.table.keys
    counts = Counter(map(examples.split_of, dropped))
    counts = Counter({split: -count for split, count in counts.items()})
    for source_split in sorted({run.split for run in examples.runs}):
        is_in_split = np.array([run.split == source_split for run in examples.runs])
        for split, hash_range in examples.assignment.ranges(source_split).items():
            part = SplitShards(split, source_split, *hash_range, number=1)
            counts[split] += int(dropped_rows.count(keys, part, is_in_split).sum())
    return dict(counts)


def _file(folder: str, number: int, kind: str, work_dir: epath.Path) -> epath.Path:
    return work_dir / folder / f"{number:04d}.{kind}"

"""The plan of the merges between reading and writing, for sources of very many slices.

A shard is merged from all sorted runs of its split. With a run for each slice, both the number of
shards and the number of runs that each shard reads would grow with the number of images, and so the
number of reads with its square. Therefore runs are first merged into fewer, level by level. Each
level reads and writes every image once, and the number of levels grows with the logarithm of the
number of images.
"""

from collections.abc import Iterator, Sequence

from components.base.arithmetic import ceil_div
from components.ingest.sorted_runs import MAX_MERGED, SortedRun
from pipeline.prepare.messages import MergeTask


def merge_tasks(runs: Sequence[SortedRun], level: int) -> list[MergeTask]:
    """The tasks of a level; none if a shard can be merged from the runs.

    Args:
      runs: runs of the same image shape, in the order of their slices within each split.
      level: number of the level.
    """
    return [task for members in _by_split(runs) for task in _tasks_of(members, level)]


def after(runs: Sequence[SortedRun], tasks: Sequence[MergeTask]) -> list[SortedRun]:
    """The runs that are left after some tasks, in the order of the splits and slices."""
    replaced = {task.runs[0]: task.merged for task in tasks}
    removed = {run for task in tasks for run in task.runs[1:]}
    return [replaced.get(run, run) for run in runs if run not in removed]


def _by_split(runs: Sequence[SortedRun]) -> Iterator[list[SortedRun]]:
    for split in sorted({run.split for run in runs}):
        yield [run for run in runs if run.split == split]


def _tasks_of(runs: Sequence[SortedRun], level: int) -> Iterator[MergeTask]:
    """Yields the tasks of one split; none if it has at most `MAX_MERGED` runs.

    Each merges as few runs as leave `MAX_MERGED` of the split; if even the most that can be merged
    at once leave more, another level follows.
    """
    if len(runs) <= MAX_MERGED:
        return
    size = min(MAX_MERGED, ceil_div(len(runs), MAX_MERGED))
    for first in range(0, len(runs), size):
        members = tuple(runs[first : first + size])
        if len(members) > 1:
            yield MergeTask(level, members)

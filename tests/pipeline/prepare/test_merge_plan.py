import dataclasses
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from components.data.examples import ExampleBatch, hash_ids
from components.ingest import sorted_runs
from components.ingest.sorted_runs import MAX_MERGED, NUM_HASHES, SortedRun
from pipeline.prepare import execution, merge_plan, workers
from pipeline.prepare.messages import ShardFormat, WriteTask
from tests.pipeline.prepare.listed_source import plan_runs

RUN = SortedRun("000000-000", 0, "train", (6, 5, 1), 10)


def runs(count: int, split: str = "train") -> list[SortedRun]:
    return [
        dataclasses.replace(RUN, file=f"{number:06d}-000", slice=number, split=split)
        for number in range(count)
    ]


def levels(remaining: list[SortedRun]) -> list[list[SortedRun]]:
    """The runs before the first level and after each level."""
    found = [remaining]
    while tasks := merge_plan.merge_tasks(found[-1], len(found)):
        assert {task.level for task in tasks} == {len(found)}
        assert all(1 < len(task.runs) <= MAX_MERGED for task in tasks)
        found.append(merge_plan.after(found[-1], tasks))
    return found


@pytest.mark.parametrize(
    ("count", "num_levels"),
    [(1, 0), (256, 0), (257, 1), (1000, 1), (65_536, 1), (65_537, 2), (200_000, 2)],
)
def test_each_level_divides_the_number_of_runs_until_few_are_left(count, num_levels):
    found = levels(runs(count))
    assert len(found) == num_levels + 1
    assert MAX_MERGED / 2 <= len(found[-1]) <= MAX_MERGED or num_levels == 0
    for level in found:
        assert sum(run.rows for run in level) == 10 * count
        assert len({run.file for run in level}) == len(level)


def test_a_thousand_runs_are_merged_four_by_four():
    tasks = merge_plan.merge_tasks(runs(1000), 1)
    assert [len(task.runs) for task in tasks] == [4] * 250


def test_runs_keep_their_order():
    for level in levels(runs(1025)):
        assert level == sorted(level, key=lambda run: (run.slice, run.file))


def test_splits_are_merged_apart():
    both = [*runs(300, "test"), *runs(100, "train")]
    (task, *_), after = merge_plan.merge_tasks(both, 1), levels(both)[-1]
    assert {run.split for run in task.runs} == {"test"}
    assert [run for run in after if run.split == "train"] == runs(100, "train")
    assert sum(run.rows for run in after if run.split == "test") == 3000


SHAPE = (32, 32, 3)
ROWS = 32  # examples of a run
NUM_SHARD_ROWS = 3200  # about 10 MB


def write_runs(count: int, directory: epath.Path) -> list[SortedRun]:
    """Writes runs of random ids; a byte of each image is random."""
    rng = np.random.default_rng(0)
    written = []
    for number in range(count):
        images = np.zeros((ROWS, *SHAPE), np.uint8)
        images[:, 0, 0, 0] = rng.integers(0, 256, ROWS)
        ids = [f"train-{number * ROWS + row:08d}" for row in range(ROWS)]
        run = SortedRun(f"{number:06d}-000", number, "train", SHAPE, ROWS)
        batch = ExampleBatch(ids, images, np.zeros(ROWS, np.int64))
        sorted_runs.write(directory / run.file, batch, hash_ids(ids))
        written.append(run)
    return written


def bytes_read() -> int:
    """The bytes that this process has read, from files or the cache of the system."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"])


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_a_shard_reads_at_most_twice_its_size_however_many_runs_there_are(count, tmp_path):
    work_dir = epath.Path(tmp_path)
    execution.open_work(work_dir)
    runs = execution.merged(write_runs(count, work_dir), work_dir, {})
    assert len(runs) == {10: 10, 100: 100, 1000: 250}[count]
    num_shards = max(1, count * ROWS // NUM_SHARD_ROWS)
    low, high = (NUM_HASHES * n // num_shards for n in (num_shards // 2, num_shards // 2 + 1))
    task = WriteTask("train", "train", "shard", low, high, 0)
    form = ShardFormat(SHAPE, 1, plan_runs(runs, work_dir).ranges)
    # Modules that the first shard imports are not part of the second one's bytes.
    first = dataclasses.replace(task, file="first", high=low + (high - low) // 20)
    workers.write_shard(first, form, work_dir, work_dir)
    before = bytes_read()
    report = workers.write_shard(task, form, work_dir, work_dir)
    assert report.kept.total == pytest.approx(min(count * ROWS, NUM_SHARD_ROWS), rel=0.1)
    assert report.pixel_bytes < bytes_read() - before < 2 * report.output.bytes


def test_a_merge_reads_its_runs_once(tmp_path):
    work_dir = epath.Path(tmp_path)
    execution.open_work(work_dir)
    runs = write_runs(MAX_MERGED + 50, work_dir)
    size = sum((work_dir / run.file).stat().length for run in runs)
    before = bytes_read()
    execution.merged(runs, work_dir, {})
    assert bytes_read() - before < 1.1 * size

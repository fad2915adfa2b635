import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
from etils import epath

from components.base.errors import WorkError
from components.data.examples import hash_ids
from components.ingest.rejection import Reason
from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from pipeline.prepare import deduplication, listing, reports
from pipeline.prepare.assignment import Assignment, SplitShards
from pipeline.prepare.messages import CountReport, RangeReport, RangeTask
from tests.pipeline.prepare.listed_source import (
    SHAPE,
    ListedSource,
    dropped_by_file,
    listed_duplicates,
    plan_runs,
    read_all,
    rejected_examples,
)


def repeated_inputs() -> dict[str, list]:
    """Inputs of two splits, of which many have ids and pixels of others."""
    rng = np.random.default_rng(0)
    items = {}
    for split, count in (("train", 400), ("test", 150)):
        items[split] = [
            (f"id-{name:04d}", np.full(SHAPE, value, np.uint8), int(value) % 3)
            for name, value in zip(
                rng.integers(0, 1200, count), rng.integers(0, 256, count), strict=True
            )
        ]
    return items


def read_runs(directory) -> list[SortedRun]:
    source = ListedSource(repeated_inputs(), per_slice=60)
    return [run for report in read_all(source, directory) for run in report.runs]


@pytest.fixture
def work_dir(tmp_path) -> epath.Path:
    return epath.Path(tmp_path)


@pytest.mark.parametrize("drop_duplicates", [False, True])
def test_the_result_does_not_depend_on_the_number_of_ranges(drop_duplicates, work_dir, monkeypatch):
    runs = read_runs(work_dir)
    results = []
    for per_range, ranges in ((1000, 1), (200, 3), (7, 79)):
        monkeypatch.setattr(deduplication, "_KEYS_PER_RANGE", per_range)
        plan = plan_runs(
            runs, work_dir, fraction=0.3, shard_bytes=1000, drop_duplicates=drop_duplicates
        )
        assert plan.ranges == ranges
        rejected = rejected_examples(plan, work_dir)
        assert {split: tally.total for split, tally in plan.rejected.items()} == dict(
            Counter(item.split for item in rejected)
        )
        dropped = [dropped_by_file(plan, work_dir, (task.low, task.high)) for task in plan.tasks]
        results.append(
            (
                dataclasses.replace(plan, ranges=0),
                sorted((item.id, item.split, item.label, item.detail) for item in rejected),
                listed_duplicates(plan, work_dir),
                dropped,
            )
        )
    assert results[0] == results[1] == results[2]
    plan, rejected, groups, dropped = results[0]
    assert len(groups) == plan.duplicates.images > 50
    assert len(rejected) > (200 if drop_duplicates else 50)
    assert sum(len(rows) for part in dropped for rows in part.values()) >= len(rejected)
    assert sum(task.examples for task in plan.tasks) == 550 - len(rejected)


def test_what_is_left_has_neither_an_id_nor_pixels_twice(work_dir, monkeypatch):
    monkeypatch.setattr(deduplication, "_KEYS_PER_RANGE", 100)
    runs = read_runs(work_dir)
    plan = plan_runs(runs, work_dir, drop_duplicates=True)
    rejected = Counter((item.split, item.id) for item in rejected_examples(plan, work_dir))
    inputs = repeated_inputs()
    counts = Counter((split, item[0]) for split in inputs for item in inputs[split])
    kept = counts - rejected
    assert set(kept.values()) == {1}
    assert len({example_id for _, example_id in kept}) == len(kept)
    distinct = {item[1][0, 0, 0] for split in inputs for item in inputs[split]}
    assert len(kept) <= len(distinct)


def test_a_task_has_one_range_of_the_hashes(work_dir):
    runs = read_runs(work_dir)
    listing.write_runs(runs, work_dir)
    (work_dir / deduplication.IDS).mkdir()
    deduplication.compare_ids(RangeTask(1, 3), Assignment(0.0, 1000), work_dir)
    (report,) = deduplication.load_reports(deduplication.IDS, work_dir)
    low, high = NUM_HASHES // 3, 2 * NUM_HASHES // 3
    inputs = repeated_inputs()
    inside = [
        (split, item[0])
        for split, items in inputs.items()
        for item in items
        if low <= int(hash_ids([item[0]])[0]) < high
    ]
    assert 100 < len(inside) < 300
    assert sum(report.kept.values()) == len({name for _, name in inside})
    rejected = sum(tally.total for tally in report.rejected.values())
    assert rejected == len(inside) - sum(report.kept.values())
    reasons = set(itertools.chain(*(tally.by_reason for tally in report.rejected.values())))
    assert reasons == {Reason.DUPLICATE_KEY}


def test_the_shards_of_a_range_are_counted(work_dir):
    runs = read_runs(work_dir)
    plan = plan_runs(runs, work_dir)
    shards = (SplitShards("train", "train", 0, NUM_HASHES, 5),)
    deduplication.counts_folder(shards, work_dir).mkdir()
    deduplication.count_examples(RangeTask(0, 1), shards, work_dir)
    folder = deduplication.counts_folder(shards, work_dir)
    (report,) = reports.load_all(folder, CountReport.from_json)
    ((first, counts),) = report.counts
    total = sum(task.examples for task in plan.tasks if task.split == "train")
    assert (report.number, first, len(counts), sum(counts)) == (0, 0, 5, total)


def test_a_task_whose_report_exists_returns_at_once(work_dir):
    runs = read_runs(work_dir)
    plan_runs(runs, work_dir)
    for run in runs:
        (work_dir / run.file).unlink()  # Without the runs, nothing could be compared again.
    assignment, task = Assignment(0.0, 1 << 20), RangeTask(0, 1)
    assert deduplication.compare_ids(task, assignment, work_dir) == {}
    assert deduplication.compare_pixels(task, assignment, False, work_dir) == {}
    report_file = work_dir / deduplication.IDS / "0000.json"
    report_file.write_bytes(b"")  # What a failure of the machine may leave.
    with pytest.raises((WorkError, FileNotFoundError)):
        deduplication.compare_ids(task, assignment, work_dir)


def test_the_first_duplicates_of_a_range_are_in_its_report(work_dir):
    image = np.zeros(SHAPE, np.uint8)
    items = {"train": [(name, image, 0) for name in "edcba"], "test": [("x", image, 0)]}
    runs = [run for report in read_all(ListedSource(items), work_dir) for run in report.runs]
    plan = plan_runs(runs, work_dir)
    (report,) = deduplication.load_reports(deduplication.PIXELS, work_dir)
    assert report == RangeReport(
        number=0,
        kept={"test": 1, "train": 5},
        rejected={},
        duplicates={"train+test": 1},
        first=[
            {"id": "x", "split": "test"},
            {"id": "a", "split": "train"},
            {"id": "b", "split": "train"},
        ],
    )
    assert plan.first == report.first


@pytest.mark.parametrize(
    ("examples", "ranges"), [(0, 1), (1 << 19, 1), ((1 << 19) + 1, 2), (10**8, 191), (10**12, 1024)]
)
def test_the_number_of_ranges_grows_with_the_examples_up_to_a_bound(examples, ranges):
    assert deduplication.num_ranges(examples) == ranges


def test_a_file_of_keys_that_a_failure_of_the_machine_has_damaged_is_written_again(work_dir):
    runs = read_runs(work_dir)
    plan_runs(runs, work_dir)
    path = work_dir / deduplication.IDS / "0000.keys"
    expected = path.read_bytes()
    for damaged in (bytes(len(expected)), expected[:-1], None):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        deduplication.compare_ids(RangeTask(0, 1), Assignment(0.0, 1 << 20), work_dir)
        assert path.read_bytes() == expected

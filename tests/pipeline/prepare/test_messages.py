import dataclasses
import itertools
import json
import pickle

import numpy as np
import pytest

from components.base.manifest import OutputRecord
from components.ingest.rejection import Reason, Rejected
from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from components.ingest.statistics import Statistics
from components.sources.source import Slice
from pipeline.prepare.messages import (
    CountReport,
    MergeTask,
    QuarantineReport,
    QuarantineTask,
    RangeReport,
    RangeTask,
    ReadReport,
    ReadTask,
    ShardFormat,
    WriteReport,
    WriteTask,
)
from tests.pipeline.prepare.listed_source import examples, tally_of

RUN = SortedRun("000000-000", 0, "train", (6, 5, 1), 10)
OUTPUT = OutputRecord(5, "0" * 64)
BAD = Rejected("bad", "train", None, Reason.EMPTY, "no bytes")


def through_json(report):
    return type(report).from_json(json.loads(json.dumps(report.as_json())))


@pytest.mark.parametrize(
    "task",
    [
        ReadTask(0, 0, Slice("train", "listed", 0, 5), frozenset({"a"})),
        ReadTask(0, 0, Slice("train", "folder", 0, 1, ("folder/a",))),
        MergeTask(1, (RUN,)),
        WriteTask("train", "train", "shard", 0, 2**64, 4),
        QuarantineTask(0, "train", [RUN]),
        RangeTask(3, 7),
        ShardFormat((6, 5, 1), num_classes=3, ranges=1),
    ],
    ids=lambda task: type(task).__name__,
)
def test_tasks_can_be_pickled(task):
    assert pickle.loads(pickle.dumps(task)) == task


def test_a_read_task_reads_at_most_its_slice_or_the_wanted_ids():
    part = Slice("train", "listed", 0, 5)
    assert ReadTask(0, 0, part).max_inputs == 5
    assert ReadTask(0, 0, part, frozenset({"a", "b"})).max_inputs == 2


def test_merged_runs_hold_all_rows_and_keep_their_order():
    runs = [
        dataclasses.replace(RUN, file=f"{slice_:06d}-{number:03d}", slice=slice_)
        for slice_, number in ((0, 0), (0, 1), (0, 2), (0, 3), (3, 0), (12, 0))
    ]
    level = [MergeTask(1, tuple(runs[first : first + 2])).merged for first in (0, 2, 4)]
    level.insert(2, dataclasses.replace(RUN, file="000000-004"))  # A run that is left as it is.
    assert [run.rows for run in level] == [20, 20, 10, 20]
    assert sorted(level, key=lambda run: (run.slice, run.file)) == level
    following = MergeTask(2, tuple(level[:2])).merged
    assert following.rows == 40
    assert len({run.file for run in (*runs, *level, following)}) == 11


@pytest.mark.parametrize(
    "report",
    [
        ReadReport(7, "test", tally_of([*examples(4), BAD]), tally_of([BAD], BAD.reason), [RUN], 2),
        QuarantineReport(7, "test", tally_of([BAD], BAD.reason)),
        RangeReport(
            *(7, {"train": 5}, {"test": tally_of([BAD], BAD.reason)}, {"train+test": 1}),
            [{"id": "a", "split": "train"}, {"id": "b", "split": "test"}],
        ),
        CountReport(7, [(3, [1, 0, 2]), (0, [])]),
    ],
    ids=lambda report: type(report).__name__,
)
def test_reports_are_restored_from_json(report):
    assert through_json(report) == report


def test_the_report_of_a_shard_is_restored_from_json():
    statistics = Statistics.empty(1, 3)
    items = examples(4)
    statistics.add(np.stack([image for _, image, _ in items]), np.array([0, 1, 2, 0]))
    report = WriteReport("validation", "train", "shard", tally_of(items), statistics, OUTPUT)
    restored = through_json(report)
    assert (restored.kept, restored.output) == (report.kept, OUTPUT)
    assert (restored.split, restored.source_split, restored.file) == (
        "validation",
        "train",
        "shard",
    )
    np.testing.assert_array_equal(restored.statistics.histogram, statistics.histogram)
    np.testing.assert_array_equal(restored.statistics.labels, statistics.labels)


def test_the_size_of_a_shard_is_that_of_its_pixels():
    statistics = Statistics.empty(3, 2)
    statistics.add(np.zeros((2, 6, 5, 3), np.uint8), np.array([0, 1]))
    assert (
        WriteReport("train", "train", "shard", tally_of([]), statistics, OUTPUT).pixel_bytes == 180
    )


@pytest.mark.parametrize("ranges", [1, 3, 1024])
def test_ranges_cover_all_hashes(ranges):
    found = [RangeTask(number, ranges).hash_range for number in range(ranges)]
    assert (found[0][0], found[-1][1]) == (0, NUM_HASHES)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(found))


def test_a_count_report_holds_only_the_shards_with_examples():
    counts = [np.array([0, 0, 4, 0, 1, 0]), np.zeros(3, np.int64), np.array([2])]
    assert CountReport.of(1, counts) == CountReport(1, [(2, [4, 0, 1]), (0, []), (0, [2])])

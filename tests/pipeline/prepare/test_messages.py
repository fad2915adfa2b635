import json
import pickle

import numpy as np
import pytest

from components.ingest.rejection import Reason, Rejected
from components.ingest.sorted_runs import SortedRun
from components.ingest.statistics import Statistics
from components.sources.source import Slice
from pipeline.prepare.messages import (
    QuarantineReport,
    QuarantineTask,
    ReadReport,
    ReadTask,
    ShardInputs,
    WriteReport,
    WriteTask,
)
from tests.pipeline.prepare.listed_source import examples, tally_of

RUN = SortedRun("000000-000", 0, "train", (6, 5, 1), 10)
BAD = Rejected("bad", "train", None, Reason.EMPTY, "no bytes")


def through_json(report):
    return type(report).from_json(json.loads(json.dumps(report.as_json())))


@pytest.mark.parametrize(
    "task",
    [
        ReadTask(0, 0, Slice("train", "listed", 0, 5), frozenset({"a"})),
        WriteTask("train", "train", "shard", 0, 2**64, 4),
        QuarantineTask(0, "train", [RUN], [BAD]),
        ShardInputs([RUN], {RUN.file: frozenset({1})}, num_classes=3),
    ],
    ids=lambda task: type(task).__name__,
)
def test_tasks_and_inputs_can_be_pickled(task):
    assert pickle.loads(pickle.dumps(task)) == task


def test_a_read_task_reads_at_most_its_slice_or_the_wanted_ids():
    part = Slice("train", "listed", 0, 5)
    assert ReadTask(0, 0, part).max_inputs == 5
    assert ReadTask(0, 0, part, frozenset({"a", "b"})).max_inputs == 2


def test_the_inputs_of_the_shards_have_the_shape_of_their_runs():
    assert ShardInputs([RUN], {}, num_classes=3).shape == (6, 5, 1)


@pytest.mark.parametrize(
    "report",
    [
        ReadReport(7, "test", tally_of([*examples(4), BAD]), tally_of([BAD], BAD.reason), [RUN]),
        QuarantineReport(7, "test", tally_of([BAD], BAD.reason)),
    ],
    ids=lambda report: type(report).__name__,
)
def test_reports_are_restored_from_json(report):
    assert through_json(report) == report


def test_the_report_of_a_shard_is_restored_from_json():
    statistics = Statistics.empty(1, 3)
    items = examples(4)
    statistics.add(np.stack([image for _, image, _ in items]), np.array([0, 1, 2, 0]))
    report = WriteReport("validation", "train", "shard", tally_of(items), statistics)
    restored = through_json(report)
    assert restored.kept == report.kept
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
    assert WriteReport("train", "train", "shard", tally_of([]), statistics).pixel_bytes == 180

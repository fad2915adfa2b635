import dataclasses

import numpy as np
import pytest

from components.base import json_types
from components.base.errors import WorkError
from components.base.manifest import OutputRecord
from components.data.dataset_counts import DatasetCounts, DuplicateCounts, ShardCount
from components.ingest.rejection import Reason, Rejected
from components.ingest.statistics import Statistics
from pipeline.prepare import counts
from pipeline.prepare.messages import WriteReport
from tests.pipeline.prepare.listed_source import SHAPE, ListedSource, examples, tally_of

BAD = Rejected("bad", "train", 2, Reason.EMPTY, "no bytes")
TRAIN = examples(9)
TEST = examples(3, split="test")
SOURCE = ListedSource({"train": [*TRAIN, BAD], "test": TEST})


def shard(split: str, source_split: str, number: int, items) -> WriteReport:
    statistics = Statistics.empty(1, 3)
    images, labels = ([item[column] for item in items] for column in (1, 2))
    statistics.add(np.stack(images), np.array(labels))
    return WriteReport(
        split,
        source_split,
        f"{split}-{number}",
        tally_of(items),
        statistics,
        OutputRecord(0, "0" * 64),
    )


INPUTS = {"train": tally_of([*TRAIN, BAD]), "test": tally_of(TEST)}
WRITTEN = [
    shard("test", "test", 0, TEST),
    shard("train", "train", 0, TRAIN[3:5]),
    shard("train", "train", 1, TRAIN[5:]),
    shard("validation", "train", 0, TRAIN[:3]),
]
QUARANTINED = [("train", tally_of([BAD], BAD.reason))]
DUPLICATES = DuplicateCounts(images=3, by_splits={"train": 2, "train+test": 1})


def count(**changes) -> DatasetCounts:
    arguments = {"inputs": INPUTS, "written": WRITTEN, "quarantined": QUARANTINED} | changes
    return counts.add_up(
        SOURCE,
        **arguments,
        image_shape=SHAPE,
        duplicates=DUPLICATES,
        rest="digest",
        outline=("  train: 10 files",),
    )


def test_the_reports_are_added_up_by_split_and_shard():
    result = count()
    assert (result.inputs, result.kept, result.quarantined) == (13, 12, 1)
    assert result.examples == {"train": 6, "validation": 3, "test": 3}
    assert list(result.examples) == ["train", "validation", "test"]
    assert result.examples_by_label == {
        "train": [2, 2, 2],
        "validation": [1, 1, 1],
        "test": [1, 1, 1],
    }
    assert result.shards == {
        "train": [ShardCount("train-0", 2), ShardCount("train-1", 4)],
        "validation": [ShardCount("validation-0", 3)],
        "test": [ShardCount("test-0", 3)],
    }
    assert result.ledger["train"]["reasons"] == {"empty": 1}
    assert (result.image_shape, result.rest) == (SHAPE, "digest")
    assert result.duplicates == DUPLICATES
    assert result.outline == ["  train: 10 files"]


def test_counts_are_restored_from_the_manifest():
    result = dataclasses.replace(count(), class_names=["A", "B", "C"])
    assert json_types.parse(DatasetCounts, result.as_json()) == result


def test_a_source_with_other_inputs_than_it_declares_is_an_error():
    with pytest.raises(WorkError, match="cats declares 10 inputs in train, but 5 were read"):
        count(inputs=INPUTS | {"train": tally_of(TRAIN[:5])})


def test_a_lost_input_is_an_error():
    with pytest.raises(WorkError, match="the ledger of train does not add up"):
        count(quarantined=[])
    with pytest.raises(WorkError, match="the ledger of test does not add up"):
        count(written=WRITTEN[1:])

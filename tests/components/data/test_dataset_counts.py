import dataclasses
import json

from components.base import json_types
from components.data.dataset_counts import DatasetCounts, DuplicateCounts, ShardCount

COUNTS = DatasetCounts(
    inputs=12,
    kept=10,
    quarantined=2,
    ledger={"train": {"inputs": 12}},
    image_shape=(28, 32, 1),
    class_names=["cat", "dog"],
    examples={"train": 7, "test": 3},
    examples_by_label={"train": [3, 4], "test": [1, 2]},
    shards={"train": [ShardCount("a", 4), ShardCount("b", 3)], "test": [ShardCount("c", 3)]},
    duplicates=DuplicateCounts(3, {"train": 1, "train+test": 2}),
    rest="0123",
    outline=["train: 12 files"],
)


def test_counts_round_trip_through_the_manifest():
    assert json_types.parse(DatasetCounts, json.loads(json.dumps(COUNTS.as_json()))) == COUNTS


def test_the_counts_of_a_prepared_dataset_add_up(example_set):
    counts = example_set.counts
    assert counts.as_json() == example_set.artifact.manifest.counts
    assert counts.inputs == counts.kept + counts.quarantined
    for split, shards in counts.shards.items():
        assert sum(shard.examples for shard in shards) == counts.examples[split]
        assert sum(counts.examples_by_label[split]) == counts.examples[split]


def test_counts_of_earlier_manifests_have_no_outline():
    value = COUNTS.as_json()
    del value["outline"]
    assert json_types.parse(DatasetCounts, value).outline == []


def test_a_class_is_empty_if_all_of_its_inputs_were_set_aside():
    ledger = {
        "train": {"classes": {"cat": {"inputs": 2, "kept": 0}, "dog": {"inputs": 1, "kept": 0}}},
        "test": {"classes": {"dog": {"inputs": 1, "kept": 1}}},
    }
    counts = dataclasses.replace(COUNTS, ledger=ledger, class_names=["cat", "dog", "never"])
    assert counts.empty_classes == ["cat"]


def test_leaks_are_images_in_several_splits():
    assert COUNTS.duplicates.leaks == {"train+test": 2}

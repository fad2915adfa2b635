import pickle
import shutil

import numpy as np
import pytest

from components.base.errors import WorkError
from components.data.examples import ExampleBatch
from components.sources.prepared import PreparedSource


def read_splits(source: PreparedSource) -> dict[str, ExampleBatch]:
    """Reads all slices and checks that each holds the examples that it announces."""
    batches: dict[str, list[ExampleBatch]] = {}
    for part in source.slices():
        items = list(source.read(part))
        assert all(isinstance(item, ExampleBatch) for item in items)
        assert sum(map(len, items)) == part.examples
        previous = batches.setdefault(part.split, [])
        assert part.first == sum(map(len, previous))
        previous += items
    return {split: ExampleBatch.concatenate(items) for split, items in batches.items()}


@pytest.mark.parametrize("validation_from_train", [True, False])
def test_kept_examples_are_read_with_their_ids(validation_from_train, example_set):
    source = PreparedSource(example_set.path, validation_from_train)
    expected = {split: example_set.read(split) for split in example_set.splits}
    if validation_from_train:
        parts = [expected["train"], expected.pop("validation")]
        expected["train"] = ExampleBatch.concatenate(parts)
    batches = read_splits(source)
    assert batches.keys() == expected.keys()
    assert source.num_examples == {split: len(batch) for split, batch in expected.items()}
    for split, batch in batches.items():
        assert batch.ids == expected[split].ids
        np.testing.assert_array_equal(batch.images, expected[split].images)
        np.testing.assert_array_equal(batch.labels, expected[split].labels)
    if validation_from_train:
        assert sorted(batches["train"].ids) == [f"train-{index:08d}" for index in range(600)]


def test_name_classes_and_input_are_those_of_the_dataset(example_set):
    source = PreparedSource(example_set.path, validation_from_train=True)
    assert source.name == "synthetic_garments"
    assert source.class_names == example_set.class_names
    assert source.settings == {}
    assert source.input == example_set.artifact.as_input()


@pytest.mark.parametrize("is_opened", [True, False])
def test_a_pickled_source_reads_the_same_examples(example_set, is_opened):
    source = PreparedSource(example_set.path, validation_from_train=True)
    if is_opened:
        assert source.slices() == source.slices()
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert copy.slices() == source.slices()
    assert copy.input == source.input
    part = source.slices()[-1]
    np.testing.assert_array_equal(
        ExampleBatch.concatenate(copy.read(part)).images,
        ExampleBatch.concatenate(source.read(part)).images,
    )


def test_a_damaged_shard_is_named_with_its_record(examples_dir, tmp_path):
    copied = shutil.copytree(examples_dir, tmp_path / "examples")
    source = PreparedSource(copied, validation_from_train=True)
    part = next(part for part in source.slices() if part.split == "test")
    data = bytearray((copied / part.name).read_bytes())
    data[len(data) // 100 * 3 + 200] ^= 1
    (copied / part.name).write_bytes(data)
    with pytest.raises(WorkError, match=rf"record 3 of \S*{part.name} has a wrong payload"):
        list(source.read(part))

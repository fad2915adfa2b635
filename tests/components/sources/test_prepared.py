import pickle
import shutil

import numpy as np
import pytest

from components.base.errors import WorkError
from components.data.examples import ExampleBatch
from components.sources.prepared import PreparedSource


def blocks_by_split(source: PreparedSource) -> dict[str, list[ExampleBatch]]:
    """All that a source reads, each slice held against what it announces."""
    found: dict[str, list[ExampleBatch]] = {}
    for part in source.slices():
        blocks = list(source.read(part))
        assert all(isinstance(block, ExampleBatch) for block in blocks)
        assert sum(map(len, blocks)) == part.examples
        before = found.setdefault(part.split, [])
        assert part.first == sum(map(len, before))
        before += blocks
    return found


@pytest.mark.parametrize("is_validation_cut", [True, False])
def test_what_was_kept_is_read_with_its_own_ids(is_validation_cut, examples_dir, example_set):
    source = PreparedSource(example_set.path, is_validation_cut)
    whole = {split: example_set.read(split) for split in example_set.splits}
    if is_validation_cut:
        whole["train"] = ExampleBatch.concatenate([whole["train"], whole.pop("validation")])
    found = blocks_by_split(source)
    assert found.keys() == whole.keys()
    assert source.num_examples == {split: len(block) for split, block in whole.items()}
    for split, blocks in found.items():
        read = ExampleBatch.concatenate(blocks)
        assert read.ids == whole[split].ids
        np.testing.assert_array_equal(read.images, whole[split].images)
        np.testing.assert_array_equal(read.labels, whole[split].labels)
    if is_validation_cut:
        assert sorted(ExampleBatch.concatenate(found["train"]).ids) == [
            f"train-{n:08d}" for n in range(600)
        ]


def test_it_is_named_and_known_by_what_was_prepared(example_set):
    source = PreparedSource(example_set.path, is_validation_cut=True)
    assert source.name == "synthetic_garments"
    assert source.class_names == example_set.class_names
    assert source.settings == {}
    assert source.input == example_set.artifact.as_input()


def test_workers_read_the_same_of_a_copy(example_set):
    source = PreparedSource(example_set.path, is_validation_cut=True)
    assert source.slices() == source.slices()
    copy = pickle.loads(pickle.dumps(source))  # once opened, and once before
    for each in (copy, pickle.loads(pickle.dumps(PreparedSource(example_set.path, True)))):
        assert each == source
        assert each.slices() == source.slices()
        assert each.input == source.input
        part = source.slices()[-1]
        np.testing.assert_array_equal(
            ExampleBatch.concatenate(each.read(part)).images,
            ExampleBatch.concatenate(source.read(part)).images,
        )


def test_a_damaged_shard_is_named_with_its_record(examples_dir, tmp_path):
    copied = shutil.copytree(examples_dir, tmp_path / "examples")
    source = PreparedSource(copied, is_validation_cut=True)
    part = next(part for part in source.slices() if part.split == "test")
    data = bytearray((copied / part.name).read_bytes())
    data[len(data) // 100 * 3 + 200] ^= 1
    (copied / part.name).write_bytes(data)
    with pytest.raises(WorkError, match=rf"record 3 of \S*{part.name} has a wrong payload"):
        list(source.read(part))

import json
import shutil

import numpy as np
import pytest

from components.base.errors import ConfigError, WorkError
from components.data import codec
from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset, description, shard_name
from pipeline.prepare.stage import prepare
from tests.conftest import tiny_prepare_config


def assert_same(one: ExampleBatch, other: ExampleBatch) -> None:
    assert one.ids == other.ids
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)


@pytest.fixture(scope="module")
def sharded_dir(tmp_path_factory):
    """Examples in several shards a split."""
    directory = tmp_path_factory.mktemp("sharded") / "examples"
    prepare(tiny_prepare_config(shard_bytes=50_000), output=directory)
    return directory


@pytest.fixture
def copy(examples_dir, tmp_path):
    return shutil.copytree(examples_dir, tmp_path / "examples")


def test_a_prepared_directory_opens(example_set):
    assert example_set.splits == ["train", "validation", "test"]
    assert example_set.image_shape == (28, 28, 1)
    for split in example_set.splits:
        read = example_set.read(split)
        assert len(read) == example_set.num_examples(split) > 0
        assert read.images.shape == (len(read), 28, 28, 1)
        assert read.labels.dtype == np.int64
        assert 0 <= read.labels.min() <= read.labels.max() < len(example_set.class_names)


def test_blocks_are_the_shards_one_after_the_other(sharded_dir):
    example_set = PreparedDataset.open(sharded_dir)
    assert len(example_set.shards["train"]) > 3
    for split in example_set.splits:
        blocks = list(example_set.blocks(split))
        assert len(blocks) == len(example_set.shards[split])
        assert_same(ExampleBatch.concatenate(blocks), example_set.read(split))
        for block, (file, count) in zip(blocks, example_set.shards[split], strict=True):
            assert len(block) == count
            assert_same(block, next(codec.read_batches(sharded_dir / file, (28, 28, 1))))


def test_images_alone_are_those_of_whole_examples(sharded_dir):
    example_set = PreparedDataset.open(sharded_dir)
    for split in example_set.splits:
        images = example_set.images(split)
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, example_set.read(split).images)


def test_the_shards_change_nothing_but_the_files(sharded_dir, example_set):
    for split in example_set.splits:
        assert_same(PreparedDataset.open(sharded_dir).read(split), example_set.read(split))


@pytest.mark.parametrize("method", ["read", "blocks", "images"])
def test_an_unknown_split_is_refused(example_set, method):
    with pytest.raises(ConfigError, match="no examples in split 'dev'; it has: train"):
        list(getattr(example_set, method)("dev"))
    assert example_set.num_examples("dev") == 0


def test_a_directory_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no finished artifact"):
        PreparedDataset.open(tmp_path)


def shard_of(directory):
    return directory / shard_name("synthetic_garments", "train", 0, 1)


def test_a_cut_shard_is_found_at_opening_and_its_record_named(copy):
    shard = shard_of(copy)
    size = len(next(codec.read_batches(shard, (28, 28, 1))))
    record = shard.stat().st_size // size
    with shard.open("r+b") as file:
        file.truncate(7 * record + 100)
    with pytest.raises(WorkError, match=rf"record 7 of {shard} is truncated"):
        PreparedDataset.open(copy)


def test_a_missing_shard_is_found_at_opening(copy):
    shard_of(copy).unlink()
    with pytest.raises(WorkError, match=shard_of(copy).name):
        PreparedDataset.open(copy)


def test_a_flipped_bit_is_found_in_reading_and_its_record_named(copy):
    shard = shard_of(copy)
    example_set = PreparedDataset.open(copy)
    count = example_set.num_examples("train")
    data = bytearray(shard.read_bytes())
    data[len(data) // count * 11 + 300] ^= 4
    shard.write_bytes(data)
    with pytest.raises(WorkError, match=rf"record 11 of {shard} has a wrong payload checksum"):
        PreparedDataset.open(copy).read("train")
    with pytest.raises(WorkError, match=rf"record 11 of {shard} has a wrong payload checksum"):
        PreparedDataset.open(copy).images("train")
    assert len(PreparedDataset.open(copy).read("test")) == 100


def rewrite(directory, change) -> int:
    """Changes the examples of train's shard, and its size in the manifest; returns their number."""
    shard = shard_of(directory)
    block = ExampleBatch.concatenate(codec.read_batches(shard, (28, 28, 1)))
    shard.write_bytes(codec.encode(change(block)))
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["outputs"][shard.name]["bytes"] = shard.stat().st_size
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return len(block)


def test_a_shard_with_too_few_records_is_refused(copy):
    count = rewrite(copy, lambda block: block.part(0, 9))
    match = rf"{shard_of(copy)} holds 9 records, its manifest says {count}: record 9"
    with pytest.raises(WorkError, match=match):
        PreparedDataset.open(copy).read("train")


def test_a_shard_with_no_records_is_refused(copy):
    rewrite(copy, lambda block: block.part(0, 0))
    with pytest.raises(WorkError, match="holds 0 records, its manifest says"):
        list(PreparedDataset.open(copy).blocks("train"))


def test_a_shard_with_too_many_records_is_refused(copy):
    count = rewrite(copy, lambda block: ExampleBatch.concatenate([block, block.part(0, 1)]))
    match = rf"{shard_of(copy)} holds more records than the {count} that"
    with pytest.raises(WorkError, match=match):
        PreparedDataset.open(copy).read("train")


def test_a_shard_of_another_count_is_found_at_opening_by_its_size(copy):
    shard = shard_of(copy)
    block = ExampleBatch.concatenate(codec.read_batches(shard, (28, 28, 1)))
    shard.write_bytes(codec.encode(block.part(0, 9)))
    with pytest.raises(WorkError, match=f"holds 9 records, its manifest says {len(block)}"):
        PreparedDataset.open(copy)


def test_names_of_shards_are_tfds_own():
    import tensorflow_datasets as tfds

    name = shard_name("my_cats", "train", 3, 12)
    template = tfds.core.ShardedFileTemplate(
        data_dir=".", dataset_name="my_cats", split="train", filetype_suffix="tfrecord"
    )
    assert name == template.sharded_filepaths(12)[3].name


def test_the_description_is_one_line(example_set):
    train, validation = (example_set.num_examples(split) for split in ("train", "validation"))
    assert description(example_set) == (
        f"synthetic_garments: {train:,} train, {validation:,} validation, 100 test, 28x28x1"
    )


def test_the_head_of_a_split_is_its_first_images(example_set):
    images = example_set.read("train").images
    for count in (1, 7, len(images), len(images) + 1):
        np.testing.assert_array_equal(example_set.head("train", count), images[:count])

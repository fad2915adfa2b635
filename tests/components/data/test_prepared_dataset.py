import shutil

import numpy as np
import pytest
from etils import epath

from components.base import files
from components.base.errors import ConfigError, WorkError
from components.data import codec
from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset, description
from components.data.tfds_metadata import shard_name
from pipeline.prepare.stage import prepare
from tests.conftest import tiny_prepare_config
from tests.manifests import edit_manifest

SHAPE = (28, 28, 1)


def assert_same(one: ExampleBatch, other: ExampleBatch) -> None:
    assert one.ids == other.ids
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)


@pytest.fixture(scope="module")
def sharded_dir(tmp_path_factory):
    """A prepared dataset with several shards per split."""
    directory = tmp_path_factory.mktemp("sharded") / "examples"
    prepare(tiny_prepare_config(shard_bytes=50_000), output=directory)
    return directory


@pytest.fixture
def copy(examples_dir, tmp_path):
    return shutil.copytree(examples_dir, tmp_path / "examples")


def test_a_prepared_dataset_opens(example_set):
    assert example_set.name == "synthetic_garments"
    assert example_set.splits == ["train", "validation", "test"]
    assert example_set.image_shape == SHAPE
    for split in example_set.splits:
        batch = example_set.read(split)
        assert len(batch) == example_set.num_examples(split) > 0
        assert batch.images.shape == (len(batch), *SHAPE)
        assert batch.labels.dtype == np.int64
        assert 0 <= batch.labels.min() <= batch.labels.max() < len(example_set.class_names)


def test_batches_follow_the_order_of_the_shards(sharded_dir):
    dataset = PreparedDataset.open(sharded_dir)
    assert len(dataset.shards["train"]) > 3
    for split in dataset.splits:
        batches = list(dataset.batches(split))
        assert len(batches) == len(dataset.shards[split])
        assert_same(ExampleBatch.concatenate(batches), dataset.read(split))
        for batch, shard in zip(batches, dataset.shards[split], strict=True):
            assert len(batch) == shard.examples
            assert_same(batch, next(codec.read_batches(sharded_dir / shard.file, SHAPE)))


def test_images_are_those_of_read(sharded_dir):
    dataset = PreparedDataset.open(sharded_dir)
    for split in dataset.splits:
        images = dataset.images(split)
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, dataset.read(split).images)


def test_the_number_of_shards_does_not_change_the_examples(sharded_dir, example_set):
    for split in example_set.splits:
        assert_same(PreparedDataset.open(sharded_dir).read(split), example_set.read(split))


@pytest.mark.parametrize("method", ["read", "batches", "images"])
def test_an_unknown_split_is_refused(example_set, method):
    with pytest.raises(ConfigError, match="no examples in split 'dev'; it has: train"):
        list(getattr(example_set, method)("dev"))
    assert example_set.num_examples("dev") == 0


def test_a_directory_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        PreparedDataset.open(tmp_path)


@pytest.mark.parametrize(
    "edit",
    [lambda counts: counts.pop("shards"), lambda counts: counts.update(unknown=1)],
    ids=["a missing count", "an unknown count"],
)
def test_a_manifest_of_another_version_is_refused(copy, edit):
    edit_manifest(copy, lambda manifest: edit(manifest["counts"]))
    with pytest.raises(ConfigError, match=r"examples was prepared by another version"):
        PreparedDataset.open(copy)


def train_shard(directory):
    return directory / shard_name("synthetic_garments", "train", 0, 1)


def test_a_truncated_shard_is_detected_at_opening_and_its_record_is_named(copy):
    shard = train_shard(copy)
    num_records = len(next(codec.read_batches(shard, SHAPE)))
    length = shard.stat().st_size // num_records
    with shard.open("r+b") as file:
        file.truncate(7 * length + 100)
    with pytest.raises(WorkError, match=rf"record 7 of {shard} is truncated"):
        PreparedDataset.open(copy)


def test_a_missing_shard_is_detected_at_opening(copy):
    train_shard(copy).unlink()
    with pytest.raises(WorkError, match=train_shard(copy).name):
        PreparedDataset.open(copy)


def test_a_flipped_bit_is_detected_while_reading_and_its_record_is_named(copy):
    shard = train_shard(copy)
    num_examples = PreparedDataset.open(copy).num_examples("train")
    data = bytearray(shard.read_bytes())
    data[len(data) // num_examples * 11 + 300] ^= 4
    shard.write_bytes(data)
    with pytest.raises(WorkError, match=rf"record 11 of {shard} has a wrong payload checksum"):
        PreparedDataset.open(copy).read("train")
    with pytest.raises(WorkError, match=rf"record 11 of {shard} has a wrong payload checksum"):
        PreparedDataset.open(copy).images("train")
    assert len(PreparedDataset.open(copy).read("test")) == 100


def rewrite_shard(directory, change) -> int:
    """Changes the examples of the train shard, and its size and digest in the manifest.

    Returns the number of examples before the change.
    """
    shard = train_shard(directory)
    batch = ExampleBatch.concatenate(codec.read_batches(shard, SHAPE))
    shard.write_bytes(codec.encode(change(batch)))
    record = {"bytes": shard.stat().st_size, "sha256": files.sha256(epath.Path(shard))}
    edit_manifest(directory, lambda manifest: manifest["outputs"].update({shard.name: record}))
    return len(batch)


def test_a_shard_with_too_few_records_is_refused(copy):
    count = rewrite_shard(copy, lambda batch: batch.part(0, len(batch) - 1))
    match = rf"{train_shard(copy)} holds {count - 1} records, but the manifest lists {count}: "
    with pytest.raises(WorkError, match=match):
        PreparedDataset.open(copy).read("train")


def test_a_shard_that_is_too_small_for_its_examples_is_refused(copy):
    rewrite_shard(copy, lambda batch: batch.part(0, 0))
    with pytest.raises(ConfigError, match=r"cannot hold \d+ examples in 0 bytes"):
        PreparedDataset.open(copy)


@pytest.mark.parametrize("read", ["read", "images", "head"])
def test_a_shard_of_another_run_with_the_same_size_is_refused(copy, read):
    shard = train_shard(copy)
    batch = ExampleBatch.concatenate(codec.read_batches(shard, SHAPE))
    batch.images[3] ^= 1
    shard.write_bytes(codec.encode(batch))
    dataset = PreparedDataset.open(copy)
    arguments = ("train", 2) if read == "head" else ("train",)
    with pytest.raises(WorkError, match=rf"{shard} is damaged or belongs to another run"):
        getattr(dataset, read)(*arguments)
    assert len(dataset.read("test")) == 100


@pytest.mark.parametrize(
    "file", ["../other", "/etc/passwd", "manifest.json", "a/b", "absent", "quarantine/x", ""]
)
def test_a_shard_that_is_not_an_output_is_refused(copy, file):
    edit_manifest(copy, lambda value: value["counts"]["shards"]["test"][0].update(file=file))
    with pytest.raises(ConfigError, match="which is not an output; prepare again"):
        PreparedDataset.open(copy)


def test_a_shard_with_too_many_records_is_refused(copy):
    count = rewrite_shard(copy, lambda batch: ExampleBatch.concatenate([batch, batch.part(0, 1)]))
    match = rf"{train_shard(copy)} holds more records than the {count} that"
    with pytest.raises(WorkError, match=match):
        PreparedDataset.open(copy).read("train")


def test_a_shard_of_another_size_is_detected_at_opening(copy):
    shard = train_shard(copy)
    batch = ExampleBatch.concatenate(codec.read_batches(shard, SHAPE))
    shard.write_bytes(codec.encode(batch.part(0, 9)))
    with pytest.raises(WorkError, match=f"holds 9 records, but the manifest lists {len(batch)}"):
        PreparedDataset.open(copy)


def test_a_label_without_a_name_is_refused(copy):
    edit_manifest(copy, lambda manifest: manifest["counts"].update(class_names=["one"]))
    message = r"tfrecord-00000-of-00001 has the label 9, but the manifest names 1 classes"
    with pytest.raises(WorkError, match=message):
        PreparedDataset.open(copy).read("test")


def test_the_description_is_one_line(example_set):
    train, validation = (example_set.num_examples(split) for split in ("train", "validation"))
    assert description(example_set) == (
        f"synthetic_garments: {train:,} train, {validation:,} validation, 100 test, 28x28x1"
    )


def test_the_head_of_a_split_is_its_first_examples(example_set):
    whole = example_set.read("train")
    for count in (1, 7, len(whole), len(whole) + 1):
        head = example_set.head("train", count)
        assert head.ids == whole.ids[:count]
        np.testing.assert_array_equal(head.images, whole.images[:count])
        np.testing.assert_array_equal(head.labels, whole.labels[:count])


def test_the_labels_of_a_split_are_those_of_its_examples(example_set):
    labels = example_set.labels("train")
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, example_set.read("train").labels)

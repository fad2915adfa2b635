import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from components.data import codec
from components.data.dataset_counts import ShardCount
from components.data.examples import ExampleBatch
from components.data.tfds_metadata import read_image_shape, shard_name, write_tfds_metadata

SHAPE = (3, 2, 1)


def test_shard_names_follow_the_grammar_of_tfds():
    template = tfds.core.ShardedFileTemplate(
        data_dir=".", dataset_name="my_cats", split="train", filetype_suffix="tfrecord"
    )
    assert shard_name("my_cats", "train", 3, 12) == template.sharded_filepaths(12)[3].name


def write_shards(directory: epath.Path) -> tuple[ExampleBatch, list[ShardCount]]:
    """Writes seven examples to two shards."""
    images = np.random.default_rng(0).integers(0, 256, (7, *SHAPE), np.uint8)
    batch = ExampleBatch([f"é-{n}" for n in range(7)], images, np.arange(7) % 2)
    shards = []
    for number, (start, stop) in enumerate([(0, 4), (4, 7)]):
        file = shard_name("cats", "train", number, 2)
        (directory / file).write_bytes(codec.encode(batch.part(start, stop)))
        shards.append(ShardCount(file, stop - start))
    return batch, shards


def test_tfds_reads_a_directory_with_metadata(tmp_path):
    directory = epath.Path(tmp_path)
    batch, shards = write_shards(directory)
    write_tfds_metadata(
        directory,
        dataset="cats",
        image_shape=SHAPE,
        class_names=["tabby", "black cat"],
        shards={"train": shards},
    )
    builder = tfds.builder_from_directory(directory)
    assert builder.info.features["label"].names == ["tabby", "black cat"]
    split = builder.info.splits["train"]
    assert split.shard_lengths == [4, 3]
    assert split.num_bytes == 7 * 6
    examples = list(builder.as_dataset(split="train").as_numpy_iterator())
    examples.sort(key=lambda example: example["id"])
    assert [example["id"].decode() for example in examples] == batch.ids
    assert [example["label"] for example in examples] == batch.labels.tolist()
    np.testing.assert_array_equal([example["image"] for example in examples], batch.images)


def test_the_image_shape_is_read_back(tmp_path):
    directory = epath.Path(tmp_path)
    assert read_image_shape(directory) is None
    name = shard_name("cats", "train", 0, 1)
    (directory / name).touch()
    shards = {"train": [ShardCount(name, 1)]}
    write_tfds_metadata(
        directory, dataset="cats", image_shape=SHAPE, class_names=["a"], shards=shards
    )
    assert read_image_shape(directory) == SHAPE


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"featuresDict": {"features": {}}}'])
def test_features_of_others_have_no_image_shape(tmp_path, text):
    (tmp_path / "features.json").write_text(text)
    assert read_image_shape(epath.Path(tmp_path)) is None

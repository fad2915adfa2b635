import numpy as np
import pytest
import tensorflow as tf

from components import examples, records
from components.errors import ConfigError, WorkError
from components.examples import Block, ExampleSet

SHAPE = (3, 2, 1)


def block(size: int = 5) -> Block:
    rng = np.random.default_rng(0)
    return Block(
        [f"train-{i:08d}" for i in range(size)],
        rng.integers(0, 256, (size, *SHAPE), np.uint8),
        rng.integers(0, 10, size),
    )


def assert_same(one: Block, other: Block) -> None:
    assert one.ids == other.ids
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)


def test_decode_gives_back_what_encode_got():
    assert_same(examples.decode(examples.encode(block()), SHAPE), block())


def test_encoding_is_deterministic():
    assert list(examples.encode(block())) == list(examples.encode(block()))


def test_tensorflow_parses_an_encoded_example():
    spec = {
        "id": tf.io.FixedLenFeature([], tf.string),
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    parsed = tf.io.parse_single_example(next(examples.encode(block())), spec)
    assert parsed["id"].numpy().decode() == block().ids[0]
    pixels = tf.io.decode_raw(parsed["image"], tf.uint8).numpy().reshape(SHAPE)
    np.testing.assert_array_equal(pixels, block().images[0])
    assert parsed["label"].numpy() == block().labels[0]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff\xff", "record 0 has no id, image and label"),
        (b"", "record 0 has no id, image and label"),
        (next(examples.encode(block())), "has 6 bytes of pixels, 3x3x1 needs 9"),
    ],
)
def test_other_records_are_refused(tmp_path, payload, reason):
    records.write_records(tmp_path / "file", [payload])
    with pytest.raises(WorkError, match=reason):
        examples.read_shard(tmp_path / "file", (3, 3, 1))


def test_take_and_concatenate():
    rows = np.array([3, 0])
    assert block().take(rows).ids == ["train-00000003", "train-00000000"]
    assert_same(
        Block.concatenate([block().take(np.arange(2)), block().take(np.arange(2, 5))]), block()
    )


def test_a_prepared_directory_opens(example_set):
    assert example_set.splits == ["train", "validation", "test"]
    assert example_set.image_shape == (28, 28, 1)
    for split in example_set.splits:
        read = example_set.read(split)
        assert len(read) == example_set.num_examples(split) > 0
        assert read.images.shape == (len(read), 28, 28, 1)
        assert 0 <= read.labels.min() <= read.labels.max() < len(example_set.class_names)


def test_an_unknown_split_is_refused(example_set):
    with pytest.raises(ConfigError, match="no examples in split 'dev'; it has: train"):
        example_set.read("dev")


def test_a_directory_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no finished artifact"):
        ExampleSet.open(tmp_path)

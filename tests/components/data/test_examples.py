import hashlib

import numpy as np

from components.data.examples import ExampleBatch, hash_ids

SHAPE = (3, 2, 1)


def make_batch(size: int = 5) -> ExampleBatch:
    rng = np.random.default_rng(0)
    return ExampleBatch(
        [f"train-{i:08d}" for i in range(size)],
        rng.integers(0, 256, (size, *SHAPE), np.uint8),
        rng.integers(0, 10, size),
    )


def assert_same(one: ExampleBatch, other: ExampleBatch) -> None:
    assert one.ids == other.ids
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)


def test_a_batch_has_a_length_and_an_image_shape():
    assert len(make_batch()) == 5
    assert make_batch().shape == SHAPE


def test_take_returns_examples_in_the_given_order():
    batch = make_batch()
    taken = batch.take(np.array([3, 0]))
    assert taken.ids == ["train-00000003", "train-00000000"]
    np.testing.assert_array_equal(taken.images, batch.images[[3, 0]])
    np.testing.assert_array_equal(taken.labels, batch.labels[[3, 0]])


def test_part_equals_take_without_copying_the_images():
    batch = make_batch()
    part = batch.part(1, 4)
    assert_same(part, batch.take(np.arange(1, 4)))
    assert np.shares_memory(part.images, batch.images)
    assert_same(batch.part(3, 99), batch.take(np.arange(3, 5)))


def test_concatenate_joins_parts():
    batch = make_batch()
    assert_same(ExampleBatch.concatenate(iter([batch.part(0, 2), batch.part(2, 5)])), batch)


def test_the_hash_never_changes():
    assert hash_ids(["train-00000000"]).tolist() == [2821148294536992354]


def test_the_hash_is_blake2b_of_the_id_in_utf8():
    ids = ["train-00000000", "", "é", "日本/b.png"]
    expected = [
        int.from_bytes(hashlib.blake2b(example_id.encode(), digest_size=8).digest(), "little")
        for example_id in ids
    ]
    assert hash_ids(ids).dtype == np.uint64
    assert hash_ids(ids).tolist() == expected
    assert hash_ids(iter(ids)).tolist() == expected
    assert hash_ids([]).tolist() == []


def test_hashes_are_uniformly_distributed():
    hashes = hash_ids(f"train-{n:08d}" for n in range(16_000))
    assert len(np.unique(hashes)) == 16_000
    counts = np.bincount((hashes >> np.uint64(60)).astype(int), minlength=16)
    # 1,000 in each sixteenth, within five standard deviations.
    assert abs(counts - 1000).max() < 5 * np.sqrt(1000)

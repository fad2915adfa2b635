import hashlib

import numpy as np

from components.base.shapes import format_shape
from components.data.examples import ExampleBatch, hash_ids

SHAPE = (3, 2, 1)


def block(size: int = 5) -> ExampleBatch:
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


def test_a_block_knows_its_length_and_shape():
    assert len(block()) == 5
    assert block().shape == SHAPE


def test_a_shape_is_written_as_people_do():
    assert format_shape((28, 28, 1)) == "28x28x1"


def test_take_gives_rows_in_the_order_asked_for():
    taken = block().take(np.array([3, 0]))
    assert taken.ids == ["train-00000003", "train-00000000"]
    np.testing.assert_array_equal(taken.images, block().images[[3, 0]])
    np.testing.assert_array_equal(taken.labels, block().labels[[3, 0]])


def test_a_part_is_what_take_gives_without_a_copy():
    whole = block()
    part = whole.part(1, 4)
    assert_same(part, whole.take(np.arange(1, 4)))
    assert np.shares_memory(part.images, whole.images)
    assert_same(whole.part(3, 99), whole.take(np.arange(3, 5)))


def test_parts_are_joined_again():
    assert_same(ExampleBatch.concatenate([block().part(0, 2), block().part(2, 5)]), block())


def test_the_hash_is_fixed_for_ever():
    assert hash_ids(["train-00000000"]).tolist() == [2821148294536992354]


def test_a_hash_is_blake2b_of_the_ids_utf8():
    ids = ["train-00000000", "", "é", "日本/b.png"]
    wanted = [
        int.from_bytes(hashlib.blake2b(each.encode(), digest_size=8).digest(), "little")
        for each in ids
    ]
    assert hash_ids(ids).dtype == np.uint64
    assert hash_ids(ids).tolist() == wanted
    assert hash_ids(iter(ids)).tolist() == wanted
    assert hash_ids([]).tolist() == []


def test_hashes_are_spread_evenly():
    hashes = hash_ids(f"train-{n:08d}" for n in range(16_000))
    assert len(np.unique(hashes)) == 16_000
    counts = np.bincount((hashes >> np.uint64(60)).astype(int), minlength=16)
    # A thousand in each sixteenth, give or take five deviations.
    assert abs(counts - 1000).max() < 5 * np.sqrt(1000)

import numpy as np
import pytest

from components.errors import WorkError
from components.examples import Block
from pipeline.transforms import Assignment, Census, hashes_of, sorted_by_hash


def block(ids: list[str]) -> Block:
    return Block(ids, np.zeros((len(ids), 2, 2, 1), np.uint8), np.arange(len(ids)))


def names(count: int, split: str = "train") -> list[str]:
    return [f"{split}-{index:08d}" for index in range(count)]


def test_the_hash_is_fixed_for_ever():
    assert hashes_of(["train-00000000"]).tolist() == [2821148294536992354]
    assert hashes_of(names(1000)).dtype == np.uint64
    assert len(set(hashes_of(names(1000)).tolist())) == 1000


def test_the_order_knows_nothing_of_the_order_before():
    ids = names(50)
    shuffled = [ids[i] for i in np.random.default_rng(0).permutation(50)]
    assert sorted_by_hash(block(ids)).ids == sorted_by_hash(block(shuffled)).ids != ids


def test_two_examples_with_one_id_are_an_error():
    with pytest.raises(WorkError, match="two examples have the id 'train-00000001'"):
        sorted_by_hash(block([*names(3), "train-00000001"]))


def test_the_shares_are_those_asked_for():
    assignment = Assignment(validation_fraction=0.2, shard_bytes=2 * 2 * 1000)
    census = Census((2, 2, 1), {"train": 20_000, "test": 10})
    sizes: dict[str, int] = {}
    shards: dict[str, set[int]] = {}
    for (split, shard, num_shards), part in assignment.split(
        ("train", block(names(20_000))), census
    ):
        sizes[split] = sizes.get(split, 0) + len(part)
        shards.setdefault(split, set()).add(shard)
        assert shard < num_shards
    assert sizes["train"] + sizes["validation"] == 20_000
    assert sizes["validation"] == pytest.approx(4000, abs=4 * np.sqrt(20_000 * 0.2 * 0.8))
    assert {split: len(members) for split, members in shards.items()} == {
        "train": 16,
        "validation": 4,
    }


def test_a_validation_split_of_the_sources_own_keeps_its_name():
    census = Census((2, 2, 1), {"train": 100, "validation": 20})
    assignment = Assignment(validation_fraction=0.0, shard_bytes=1 << 20)
    ((key, part),) = assignment.split(("train", block(names(100))), census)
    assert (key, len(part)) == (("train", 0, 1), 100)
    ((key, part),) = assignment.split(("validation", block(names(20, "validation"))), census)
    assert (key, len(part)) == (("validation", 0, 1), 20)

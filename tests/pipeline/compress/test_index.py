import pytest

from components.data.examples import hash_ids
from pipeline.compress.index import (
    FolderIndex,
    ShardEntry,
    ShardsIndex,
    given_ids,
    parse,
    png_name,
    stored_ids,
)

SHARD = ShardEntry("x-test.tfrecord-00000-of-00001", "test", "0" * 64, 2, is_by_hash=False)


def shards_index(**fields):
    return ShardsIndex(
        **{
            "dataset": "x",
            "class_names": ["a", "b"],
            "shards": [SHARD],
            "ids": ["p", "q"],
            "labels": [0, 1],
        }
        | fields
    )


def test_ids_in_the_order_of_their_hashes_are_stored_in_alphabetical_order():
    ids = [f"test/{number}" for number in range(50)]
    by_hash = [ids[row] for row in hash_ids(ids).argsort()]
    stored, is_by_hash = stored_ids(by_hash)
    assert is_by_hash
    assert stored == sorted(ids)
    assert given_ids(stored, is_by_hash=True) == by_hash
    assert stored_ids(ids) == (ids, False)
    assert given_ids(ids, is_by_hash=False) == ids


@pytest.mark.parametrize("index", [FolderIndex([]), FolderIndex(["a/b.png"]), shards_index()])
def test_an_index_comes_back_from_json(index):
    assert parse(index.as_json(), images=index.images) == index


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (FolderIndex(["../x.png", "a"]), "leads elsewhere"),
        (FolderIndex(["/x.png", "a"]), "leads elsewhere"),
        (FolderIndex(["a", "a"]), "not that of its images"),
        (FolderIndex(["a"]), "not that of its images"),
        (shards_index(labels=[0]), "shards of other examples"),
        (shards_index(labels=[0, 2]), "labels without names"),
        (shards_index(shards=[ShardEntry("x", "elsewhere", "", 2, False)]), "has the shard"),
        (shards_index(shards=[ShardEntry("a/x", "test", "", 2, False)]), "has the shard"),
    ],
)
def test_an_index_that_is_not_that_of_its_images_is_refused(index, message):
    with pytest.raises(ValueError, match=message):
        parse(index.as_json(), images=2)


def test_other_kinds_are_refused():
    for value in ({}, {"kind": "tar"}, {"kind": ["folder"]}, []):
        with pytest.raises(ValueError, match=r"kind|content"):
            parse(value, images=0)


def test_images_become_png_files():
    assert png_name("a.b/c.jpeg") == "a.b/c.png"
    assert png_name("a/c") == "a/c.png"

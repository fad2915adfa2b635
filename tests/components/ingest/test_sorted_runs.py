import itertools
import os

import numpy as np
import pytest

from components.data.examples import ExampleBatch, hash_ids
from components.ingest import sorted_runs
from components.ingest.sorted_runs import HASHES, Rows

SHAPE = (16, 16, 1)


def block_of(size: int, shape=SHAPE, seed: int = 0) -> ExampleBatch:
    rng = np.random.default_rng(seed)
    ids = [f"{'ä' * int(rng.integers(4))}{n}" for n in range(size)]
    images = rng.integers(0, 256, (size, *shape), np.uint8)
    return ExampleBatch(ids, images, rng.integers(0, 2**40, size))


def in_order(block: ExampleBatch, hashes: np.ndarray) -> list[int]:
    """The oracle: the examples' places, by hash and then by id."""
    return sorted(range(len(block)), key=lambda row: (int(hashes[row]), block.ids[row]))


def write(
    path, block: ExampleBatch, hashes: np.ndarray | None = None
) -> tuple[np.ndarray, ExampleBatch]:
    """Writes a run; returns what it should hold, in its order."""
    hashes = hash_ids(block.ids) if hashes is None else hashes
    sorted_runs.write(path, block, hashes)
    order = np.array(in_order(block, hashes), np.int64)
    return hashes[order], block.take(order)


def assert_holds(rows: Rows, hashes: np.ndarray, block: ExampleBatch) -> None:
    np.testing.assert_array_equal(rows.hashes, hashes)
    assert rows.block.ids == block.ids
    np.testing.assert_array_equal(rows.block.images, block.images)
    np.testing.assert_array_equal(rows.block.labels, block.labels)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


@pytest.mark.parametrize("shape", [(1, 1, 1), SHAPE, (5, 7, 3)])
@pytest.mark.parametrize("size", [1, 2, 3, 700])
def test_a_run_reads_back_in_order(size, shape, path):
    hashes, block = write(path, block_of(size, shape))
    rows = sorted_runs.read(path, shape, 0, HASHES)
    assert rows.first == 0
    assert_holds(rows, hashes, block)
    assert (rows.hashes.dtype, rows.block.images.dtype) == (np.uint64, np.uint8)
    assert rows.block.labels.dtype == np.int64
    np.testing.assert_array_equal(sorted_runs.hash_column(path), hashes)
    ids, labels = sorted_runs.id_and_label_columns(path)
    assert ids == block.ids
    np.testing.assert_array_equal(labels, block.labels)
    assert sorted_runs.digest_column(path).shape == (size, 2)


@pytest.mark.parametrize("is_local", [True, False])
def test_any_partition_of_the_hashes_gives_the_whole(is_local, path, monkeypatch):
    hashes, block = write(path, block_of(6000))
    # Megabytes, so that there are inner parts; their ends are among the bounds asked for here.
    assert block.images.nbytes > 4 * 256 << 10
    if not is_local:
        monkeypatch.setattr(os.path, "isfile", lambda path: False)
    rng = np.random.default_rng(0)
    near = [eighth * HASHES // 8 + step for eighth in range(1, 8) for step in (-1, 0, 1)]
    drawn = [int(each) for each in rng.integers(0, HASHES - 1, 30, np.uint64)]
    exact = [int(each) for each in rng.choice(hashes, 5)]
    for inner in ([], [1, HASHES - 1], near, drawn, exact, [each + 1 for each in exact]):
        first = 0
        for low, high in itertools.pairwise(sorted({0, *inner, HASHES})):
            rows = sorted_runs.read(path, SHAPE, low, high)
            assert rows.first == first
            stop = first + len(rows.block)
            assert_holds(rows, hashes[first:stop], block.part(first, stop))
            assert all(low <= int(each) < high for each in (*rows.hashes[:1], *rows.hashes[-1:]))
            first = stop
        assert first == 6000


@pytest.mark.parametrize("is_local", [True, False])
def test_a_run_that_is_open_is_read_many_times(is_local, path, monkeypatch):
    hashes, block = write(path, block_of(6000))
    if not is_local:
        monkeypatch.setattr(os.path, "isfile", lambda path: False)
    bounds = [n * HASHES // 7 for n in range(8)]
    with sorted_runs.opened(path) as run:
        parts = [run.read(SHAPE, *each) for each in itertools.pairwise(bounds)]
        again = run.read(SHAPE, 0, HASHES)
    # What was read may be kept when the run is closed.
    assert_holds(again, hashes, block)
    np.testing.assert_array_equal(np.concatenate([rows.hashes for rows in parts]), hashes)
    assert ExampleBatch.concatenate(rows.block for rows in parts).ids == block.ids


def owned_bytes(array: np.ndarray) -> int:
    while isinstance(array.base, np.ndarray):
        array = array.base
    assert array.flags.owndata
    return array.nbytes


@pytest.mark.parametrize("share", [1, 3, 500])
def test_what_was_read_keeps_no_more_than_its_rows(share, path):
    write(path, block_of(6000))
    rows = sorted_runs.read(path, SHAPE, HASHES // 3, HASHES // 3 + HASHES // share // 2)
    assert 0 < len(rows.block) < 3300 / share + 10
    for array in (rows.hashes, rows.block.images, rows.block.labels):
        assert owned_bytes(array) == array.nbytes


def test_a_range_in_which_no_hash_lies(path):
    hashes, _ = write(path, block_of(100))
    for low, high, first in (
        (0, int(hashes[0]), 0),
        (int(hashes[4]) + 1, int(hashes[5]), 5),
        (int(hashes[-1]) + 1, HASHES, 100),
    ):
        rows = sorted_runs.read(path, SHAPE, low, high)
        assert (rows.first, len(rows.block), rows.hashes.size) == (first, 0, 0)
        assert rows.block.images.shape == (0, *SHAPE)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_images_larger_than_a_part(size, path):
    shape = (700, 600, 3)
    hashes, block = write(path, block_of(size, shape))
    assert_holds(sorted_runs.read(path, shape, 0, HASHES), hashes, block)
    for row, value in enumerate(hashes.tolist()):
        rows = sorted_runs.read(path, shape, value, value + 1)
        assert rows.first == row
        assert_holds(rows, hashes[row : row + 1], block.part(row, row + 1))


@pytest.mark.parametrize("value", [0, 2**63 - 1, 2**63, HASHES - 1])
def test_examples_of_one_hash_stay_together_in_the_order_of_their_ids(value, path):
    block = block_of(4000)
    hashes, ordered = write(path, block, np.full(4000, value, np.uint64))
    assert ordered.ids == sorted(block.ids)
    rows = sorted_runs.read(path, SHAPE, value, value + 1)
    assert rows.first == 0
    assert_holds(rows, hashes, ordered)
    for low, high in ((0, value), (value + 1, HASHES)):
        if low < high:
            assert len(sorted_runs.read(path, SHAPE, low, high).block) == 0


def test_the_order_is_by_hash_and_then_by_id():
    ids = ["b", "ä", "a", "aa", "c", "z"]
    hashes = np.array([5, 5, 5, 5, 2**64 - 1, 0], np.uint64)
    assert [ids[row] for row in sorted_runs.order_of(hashes, ids)] == [
        "z",
        "a",
        "aa",
        "b",
        "ä",
        "c",
    ]
    rng = np.random.default_rng(0)
    for most in (3, 50, 2**63):
        block = block_of(50)
        hashes = rng.integers(0, most, 50, np.uint64)
        assert sorted_runs.order_of(hashes, block.ids).tolist() == in_order(block, hashes)


def test_the_bytes_know_nothing_of_the_order_before(tmp_path):
    block = block_of(900)
    shuffled = block.take(np.random.default_rng(0).permutation(900))
    write(tmp_path / "one", block)
    write(tmp_path / "other", shuffled)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_run_is_replaced_whole_and_leaves_nothing_beside(tmp_path):
    write(tmp_path / "run", block_of(900))
    hashes, block = write(tmp_path / "run", block_of(3, seed=1))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert_holds(sorted_runs.read(tmp_path / "run", SHAPE, 0, HASHES), hashes, block)


def test_what_was_read_outlives_the_file(path):
    hashes, block = write(path, block_of(50))
    rows, digests = sorted_runs.read(path, SHAPE, 0, HASHES), sorted_runs.digest_column(path)
    expected = digests.copy()
    # Written over in place: memory that is still mapped to it would change.
    path.write_bytes(bytes(path.stat().st_size))
    assert_holds(rows, hashes, block)
    np.testing.assert_array_equal(digests, expected)


def test_dropped_rows_are_left_out_wherever_the_reading_begins(path):
    hashes, block = write(path, block_of(200))
    dropped = frozenset({0, 57, 100, 101, 199})
    stay = np.array(sorted(set(range(200)) - dropped))
    whole = sorted_runs.read(path, SHAPE, 0, HASHES)
    assert_holds(whole.without(dropped), hashes[stay], block.take(stay))
    assert_holds(whole.without(frozenset()), hashes, block)
    parts = [
        sorted_runs.read(path, SHAPE, low, high).without(dropped)
        for low, high in itertools.pairwise([0, int(hashes[57]), int(hashes[101]), HASHES])
    ]
    assert [len(part.block) for part in parts] == [56, 42, 97]
    assert ExampleBatch.concatenate(part.block for part in parts).ids == block.take(stay).ids
    assert len(whole.without(frozenset(range(200))).block) == 0


def test_digests_are_equal_where_the_pixels_are(path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, *SHAPE), np.uint8)
    nearly = images.copy()
    nearly[:, 15, 15, 0] ^= 1
    pixels = np.concatenate([images, nearly, images])
    _, block = write(
        path, ExampleBatch([f"{n}" for n in range(18)], pixels, np.zeros(18, np.int64))
    )
    digests = [tuple(row) for row in sorted_runs.digest_column(path).tolist()]
    contents = [image.tobytes() for image in block.images]
    for one, other in itertools.combinations(range(18), 2):
        assert (digests[one] == digests[other]) == (contents[one] == contents[other])


def test_digests_are_the_same_in_every_run(tmp_path):
    block = block_of(40)
    write(tmp_path / "all", block)
    write(tmp_path / "one", ExampleBatch(["another id"], block.images[7:8], block.labels[:1]))
    rows = sorted_runs.read(tmp_path / "all", SHAPE, 0, HASHES)
    place = rows.block.ids.index(block.ids[7])
    np.testing.assert_array_equal(
        sorted_runs.digest_column(tmp_path / "one")[0],
        sorted_runs.digest_column(tmp_path / "all")[place],
    )

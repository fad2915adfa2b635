import numpy as np
import pytest

from components.data.examples import ExampleBatch, hash_ids
from components.ingest import key_table, sorted_runs
from components.ingest.key_table import KeyTable
from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from tests.components.ingest.runs import digests_of

SHAPE = (2, 3, 1)


def write_runs(directory, sizes: list[int]) -> list[SortedRun]:
    """Writes runs of random images, whose ids have different lengths, also in bytes."""
    rng = np.random.default_rng(0)
    runs = []
    for number, size in enumerate(sizes):
        ids = [f"{number}-{'ä' * (n % 4)}{n}" for n in range(size)]
        images = rng.integers(0, 256, (size, *SHAPE), np.uint8)
        run = SortedRun(f"{number:06d}-000", number, "train", SHAPE, size)
        batch = ExampleBatch(ids, images, np.arange(size) % 7)
        sorted_runs.write(directory / run.file, batch, hash_ids(ids))
        runs.append(run)
    return runs


def ids_of(table: KeyTable) -> list[str]:
    return [table.id_of(index) for index in range(len(table))]


def assert_equal(one: KeyTable, other: KeyTable) -> None:
    np.testing.assert_array_equal(one.keys, other.keys)
    assert one.ids == other.ids


@pytest.fixture
def runs(tmp_path):
    return write_runs(tmp_path, [5, 3000, 1, 40])


def test_keys_are_those_of_the_runs(runs, tmp_path):
    table = key_table.read_runs(runs, tmp_path, (0, NUM_HASHES))
    assert len(table) == 3046
    for number, run in enumerate(runs):
        mine = table.take(np.flatnonzero(table.keys["run"] == number))
        ids, labels = sorted_runs.id_and_label_columns(tmp_path / run.file)
        assert ids_of(mine) == ids
        np.testing.assert_array_equal(mine.keys["hash"], hash_ids(ids))
        np.testing.assert_array_equal(mine.keys["row"], np.arange(run.rows))
        np.testing.assert_array_equal(mine.keys["label"], labels)
        np.testing.assert_array_equal(mine.keys["digest"], digests_of(tmp_path / run.file))


@pytest.mark.parametrize("ranges", [1, 2, 7])
def test_ranges_of_hashes_hold_every_key_once(ranges, runs, tmp_path):
    everything = key_table.read_runs(runs, tmp_path, (0, NUM_HASHES))
    parts = []
    for number in range(ranges):
        low, high = (NUM_HASHES * n // ranges for n in (number, number + 1))
        part = key_table.read_runs(runs, tmp_path, (low, high))
        assert all(low <= value < high for value in part.keys["hash"].tolist())
        parts.append(part)
    joined = key_table.concatenate(parts)
    order = np.lexsort((joined.keys["row"], joined.keys["run"]))
    assert_equal(joined.take(order), everything)


def test_keys_are_taken_in_any_order(runs, tmp_path):
    table = key_table.read_runs(runs, tmp_path, (0, NUM_HASHES))
    rows = np.random.default_rng(1).integers(0, len(table), 500)
    taken = table.take(rows)
    ids = ids_of(table)
    assert ids_of(taken) == [ids[row] for row in rows]
    np.testing.assert_array_equal(taken.keys["digest"], table.keys["digest"][rows])
    assert len(table.take(np.array([], np.int64))) == 0


@pytest.mark.parametrize("num_buckets", [1, 2, 5, 1000])
def test_any_bucket_of_a_file_is_read_without_the_others(num_buckets, runs, tmp_path):
    table = key_table.read_runs(runs, tmp_path, (0, NUM_HASHES))
    # The last bucket is empty, if there are several.
    used = max(1, num_buckets - 1)
    buckets = np.random.default_rng(2).integers(0, used, len(table)).astype(np.uint16)
    path = tmp_path / "keys"
    key_table.write(path, table, buckets, num_buckets)
    for bucket in range(num_buckets):
        expected = table.take(np.flatnonzero(buckets == bucket))
        assert_equal(key_table.read_bucket(path, bucket, num_buckets), expected)
    keys = key_table.read_keys(path, num_buckets)
    np.testing.assert_array_equal(np.sort(keys["hash"]), np.sort(table.keys["hash"]))


def test_a_file_without_keys_has_empty_buckets(tmp_path):
    empty = key_table.concatenate([])
    key_table.write(tmp_path / "keys", empty, np.zeros(0, np.uint16), 3)
    for bucket in range(3):
        assert_equal(key_table.read_bucket(tmp_path / "keys", bucket, 3), empty)
    assert len(key_table.read_keys(tmp_path / "keys", 3)) == 0

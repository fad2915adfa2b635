import numpy as np
import pytest
from etils import epath

from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from pipeline.prepare import dropped_rows
from pipeline.prepare.assignment import SplitShards

ROW = np.dtype([("row", "<i8"), ("hash", "<u8"), ("other", "<u8"), ("run", "<u4")])
RUNS = [SortedRun(f"{n:06d}-000", n, "train", (1, 1, 1), 9) for n in range(3)]


def keys(*rows: tuple[int, int, int]) -> np.ndarray:
    """Keys with some hashes, runs and rows."""
    return np.array([(row, value, 0, run) for value, run, row in rows], ROW)


KEYS = keys((0, 0, 5), (NUM_HASHES // 2 - 1, 1, 6), (NUM_HASHES // 2, 0, 7), (NUM_HASHES - 1, 0, 8))


def test_rows_are_read_back(tmp_path):
    path = epath.Path(tmp_path / "dropped")
    for found in (KEYS, KEYS[:0]):
        dropped_rows.write(path, found)
        read = dropped_rows.read(path)
        for name in ("hash", "run", "row"):
            np.testing.assert_array_equal(read[name], found[name])


@pytest.mark.parametrize(
    ("low", "high", "rows"),
    [
        (0, NUM_HASHES, [5, 6, 7, 8]),
        (1, NUM_HASHES // 2, [6]),
        (NUM_HASHES // 2, NUM_HASHES, [7, 8]),
        (0, 1, [5]),
        (0, 0, []),
        (NUM_HASHES - 1, NUM_HASHES, [8]),
    ],
)
def test_a_range_includes_its_start_and_not_its_end(low, high, rows):
    assert dropped_rows.within((low, high), KEYS)["row"].tolist() == rows


def test_keys_are_counted_in_the_shards_of_their_split():
    is_in_split = np.array([True, False, True])
    shards = SplitShards("train", "train", 0, NUM_HASHES, 4)
    assert dropped_rows.count(KEYS, shards, is_in_split).tolist() == [1, 0, 1, 1]
    shards = SplitShards("train", "train", 1, NUM_HASHES, 1)
    assert dropped_rows.count(KEYS, shards, is_in_split).tolist() == [2]
    assert dropped_rows.count(KEYS[:0], shards, is_in_split).tolist() == [0]


@pytest.mark.parametrize("ranges", [1, 2, 7])
def test_the_writer_of_a_shard_finds_its_rows(ranges, tmp_path):
    work_dir = epath.Path(tmp_path)
    paths = [work_dir / f"{number}" for number in range(ranges)]
    for number, path in enumerate(paths):
        low, high = (NUM_HASHES * n // ranges for n in (number, number + 1))
        dropped_rows.write(path, dropped_rows.within((low, high), KEYS))
    everything = dropped_rows.by_file((0, NUM_HASHES), paths, RUNS)
    assert everything == {RUNS[0].file: frozenset({5, 7, 8}), RUNS[1].file: frozenset({6})}
    half = dropped_rows.by_file((NUM_HASHES // 2, NUM_HASHES), paths, RUNS)
    assert half == {RUNS[0].file: frozenset({7, 8})}
    assert dropped_rows.by_file((1, 2), paths, RUNS) == {}

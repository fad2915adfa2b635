import collections

import numpy as np
import pytest

from components.data.examples import ExampleBatch, hash_ids
from components.ingest import duplicates, key_table, sorted_runs
from components.ingest.key_table import KeyTable
from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from tests.components.ingest.runs import read_run

SHAPE = (2, 3, 1)


def write_run(directory, ids, pixels, *, number=0, hashes=None) -> SortedRun:
    """Writes a run of images, each filled with one value."""
    images = np.broadcast_to(np.array(pixels, np.uint8).reshape(-1, 1, 1, 1), (len(ids), *SHAPE))
    examples = ExampleBatch(list(ids), images, np.array(pixels, np.int64) % 10)
    run = SortedRun(f"{number:06d}-000", number, "train", SHAPE, len(ids))
    sorted_runs.write(directory / run.file, examples, hash_ids(ids) if hashes is None else hashes)
    return run


def keys_of(runs, directory) -> KeyTable:
    return key_table.read_runs(runs, directory, (0, NUM_HASHES))


def positions(table: KeyTable, groups: list[list[int]]) -> set[frozenset[tuple[int, int]]]:
    """The run and the row of each example of the groups."""
    places = [(int(key["run"]), int(key["row"])) for key in table.keys]
    found = {frozenset(places[index] for index in group) for group in groups}
    assert sum(map(len, found)) == sum(map(len, groups))
    return found


def brute_force(runs, directory, field: str) -> set[frozenset[tuple[int, int]]]:
    """The groups of examples with equal ids or pixels, from the examples themselves."""
    groups = collections.defaultdict(set)
    for number, run in enumerate(runs):
        examples = read_run(directory / run.file, SHAPE, 0, NUM_HASHES).examples
        values = examples.ids if field == "id" else [image.tobytes() for image in examples.images]
        for row, value in enumerate(values):
            groups[value].add((number, row))
    return {frozenset(group) for group in groups.values() if len(group) > 1}


def test_all_groups_are_found(tmp_path):
    """Within a run and between runs."""
    rng = np.random.default_rng(0)
    runs = [
        write_run(
            tmp_path,
            [f"id-{n}" for n in rng.integers(0, 900, size)],
            rng.integers(0, 200, size),
            number=number,
        )
        for number, size in enumerate([100, 1, 200, 150])
    ]
    table = keys_of(runs, tmp_path)
    by_id, by_pixels = (brute_force(runs, tmp_path, field) for field in ("id", "pixels"))
    assert len(by_id) > 50
    assert len(by_pixels) > 50
    assert positions(table, duplicates.same_ids(table)) == by_id
    assert positions(table, duplicates.same_pixels(table)) == by_pixels


@pytest.mark.parametrize("find", [duplicates.same_ids, duplicates.same_pixels])
def test_without_duplicates_there_are_no_groups(find, tmp_path):
    run = write_run(tmp_path, [f"{n}" for n in range(200)], range(200))
    assert find(keys_of([run], tmp_path)) == []
    assert find(keys_of([run], tmp_path).take(np.array([3]))) == []
    assert find(key_table.concatenate([])) == []


def test_different_ids_with_one_hash_are_not_duplicates(tmp_path):
    same = np.full(3, 77, np.uint64)
    runs = [
        write_run(tmp_path, ["a", "b", "c"], [1, 2, 3], number=0, hashes=same),
        write_run(tmp_path, ["d", "b", "e"], [4, 5, 6], number=1, hashes=same),
    ]
    table = keys_of(runs, tmp_path)
    (group,) = duplicates.same_ids(table)
    assert [table.id_of(index) for index in group] == ["b", "b"]


def test_digests_with_one_equal_half_are_not_duplicates(tmp_path):
    run = write_run(tmp_path, ["a", "b", "c"], [1, 2, 1])
    table = keys_of([run], tmp_path)
    table.keys["digest"][:, 0] = 5  # Such images are not known, so the digests are made up.
    (group,) = duplicates.same_pixels(table)
    assert sorted(table.id_of(index) for index in group) == ["a", "c"]

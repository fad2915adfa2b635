import collections
import itertools

import numpy as np
import pytest

from components.data.examples import ExampleBatch, hash_ids
from components.ingest import duplicates, sorted_runs
from components.ingest.duplicates import Twin
from components.ingest.sorted_runs import HASHES, SortedRun

SHAPE = (2, 3, 1)


def write_run(directory, ids, pixels, *, number=0, split="train", hashes=None) -> SortedRun:
    """A run of images that are each filled with one value."""
    images = np.broadcast_to(np.array(pixels, np.uint8).reshape(-1, 1, 1, 1), (len(ids), *SHAPE))
    block = ExampleBatch(list(ids), images, np.array(pixels, np.int64) % 10)
    run = SortedRun(f"{number:06d}-000", number, split, SHAPE, len(ids))
    sorted_runs.write(directory / run.file, block, hash_ids(ids) if hashes is None else hashes)
    return run


def everything(directory, members) -> list[tuple[SortedRun, int, str, bytes, int, int]]:
    """Every example, read outright: run, row, id, pixels, hash, label."""
    found = []
    for run in members:
        rows = sorted_runs.read(directory / run.file, SHAPE, 0, HASHES)
        for row, example_id in enumerate(rows.block.ids):
            pixels = rows.block.images[row].tobytes()
            label = int(rows.block.labels[row])
            found.append((run, row, example_id, pixels, int(rows.hashes[row]), label))
    return found


def brute_force(directory, members, field: int) -> set[frozenset[tuple[str, int]]]:
    """Groups of places, (file, row), of examples that have the same in a field."""
    groups = collections.defaultdict(set)
    for each in everything(directory, members):
        groups[each[field]].add((each[0].file, each[1]))
    return {frozenset(group) for group in groups.values() if len(group) > 1}


def places(groups: list[list[Twin]]) -> set[frozenset[tuple[str, int]]]:
    found = {frozenset((twin.run.file, twin.row) for twin in group) for group in groups}
    assert len(found) == len(groups)
    assert sum(map(len, found)) == sum(map(len, groups))
    return found


@pytest.fixture
def members(tmp_path):
    """Runs of which ids and pixels repeat, within one, over several and over splits."""
    rng = np.random.default_rng(0)
    return [
        write_run(
            tmp_path,
            [f"id-{n}" for n in rng.integers(0, 900, size)],
            rng.integers(0, 200, size),
            number=number,
            split=split,
        )
        for number, (size, split) in enumerate(
            [(100, "train"), (1, "train"), (200, "test"), (150, "validation")]
        )
    ]


# From all hashes at a time to one, so that each is compared in another part.
@pytest.mark.parametrize("at_once", [4_000_000, 451, 450, 100, 7, 1])
def test_all_groups_are_found(at_once, members, tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "_COMPARED_AT_ONCE", at_once)
    by_id, by_pixels = brute_force(tmp_path, members, 2), brute_force(tmp_path, members, 3)
    assert len(by_id) > 50
    assert len(by_pixels) > 50
    assert places(duplicates.of_ids(members, tmp_path)) == by_id
    assert places(duplicates.of_pixels(members, tmp_path)) == by_pixels


def test_a_twin_tells_what_it_is(members, tmp_path):
    known = {(each[0].file, each[1]): each for each in everything(tmp_path, members)}
    for group in duplicates.of_ids(members, tmp_path) + duplicates.of_pixels(members, tmp_path):
        for twin in group:
            run, _, example_id, _, value, label = known[twin.run.file, twin.row]
            assert (twin.run, twin.id, twin.hash, twin.label) == (run, example_id, value, label)
    for group in duplicates.of_pixels(members, tmp_path):
        assert len({twin.digest for twin in group}) == 1


@pytest.mark.parametrize("find", [duplicates.of_ids, duplicates.of_pixels])
def test_where_nothing_repeats_there_are_no_groups(find, tmp_path):
    members = [
        write_run(
            tmp_path,
            [f"{number}-{n}" for n in range(50)],
            range(50 * number, 50 * number + 50),
            number=number,
        )
        for number in range(4)
    ]
    assert find(members, tmp_path) == []
    assert find(members[:1], tmp_path) == []


def test_the_groups_do_not_depend_on_how_examples_are_spread_over_runs(tmp_path):
    rng = np.random.default_rng(1)
    ids, pixels = [f"id-{n}" for n in rng.integers(0, 90, 100)], rng.integers(0, 90, 100)
    found = []
    for cuts in ([0, 100], [0, 1, 100], [0, 30, 31, 32, 99, 100]):
        members = [
            write_run(tmp_path, ids[start:stop], pixels[start:stop], number=number)
            for number, (start, stop) in enumerate(itertools.pairwise(cuts))
        ]
        groups = duplicates.of_pixels(members, tmp_path)
        found.append(sorted(sorted(twin.id for twin in group) for group in groups))
    assert found[0] == found[1] == found[2] != []


def test_two_ids_of_one_hash_are_no_group(tmp_path):
    same = np.full(3, 77, np.uint64)
    members = [
        write_run(tmp_path, ["a", "b", "c"], [1, 2, 3], number=0, hashes=same),
        write_run(tmp_path, ["d", "b", "e"], [4, 5, 6], number=1, hashes=same),
    ]
    groups = duplicates.of_ids(members, tmp_path)
    assert [[(twin.run.slice, twin.id) for twin in group] for group in groups] == [
        [(0, "b"), (1, "b")]
    ]


def test_two_digests_that_share_a_half_are_no_group(tmp_path, monkeypatch):
    run = write_run(tmp_path, ["a", "b", "c"], [1, 2, 1])
    digests = sorted_runs.digest_column(tmp_path / run.file)
    assert len(duplicates.of_pixels([run], tmp_path)) == 1
    halved = digests.copy()
    halved[:, 0] = 5  # No two images are known whose digests share a half.
    monkeypatch.setattr(sorted_runs, "digest_column", lambda path: halved)
    (group,) = duplicates.of_pixels([run], tmp_path)
    assert sorted(twin.id for twin in group) == ["a", "c"]

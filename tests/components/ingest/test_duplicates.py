import collections
import itertools
from pathlib import Path

import numpy as np
import pytest

from components.data.examples import ExampleBatch, hash_ids
from components.ingest import duplicates, sorted_runs
from components.ingest.duplicates import Duplicate
from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from tests.components.ingest.runs import read_run

SHAPE = (2, 3, 1)


def write_run(directory, ids, pixels, *, number=0, split="train", hashes=None) -> SortedRun:
    """Writes a run of images, each filled with one value."""
    images = np.broadcast_to(np.array(pixels, np.uint8).reshape(-1, 1, 1, 1), (len(ids), *SHAPE))
    examples = ExampleBatch(list(ids), images, np.array(pixels, np.int64) % 10)
    run = SortedRun(f"{number:06d}-000", number, split, SHAPE, len(ids))
    sorted_runs.write(directory / run.file, examples, hash_ids(ids) if hashes is None else hashes)
    return run


def all_examples(directory, runs) -> list[tuple[SortedRun, int, str, bytes, int, int]]:
    """Every example of the runs: run, row, id, pixels, hash, label."""
    found = []
    for run in runs:
        content = read_run(directory / run.file, SHAPE, 0, NUM_HASHES)
        for row, example_id in enumerate(content.examples.ids):
            pixels = content.examples.images[row].tobytes()
            label = int(content.examples.labels[row])
            found.append((run, row, example_id, pixels, int(content.hashes[row]), label))
    return found


def brute_force(directory, runs, field: int) -> set[frozenset[tuple[str, int]]]:
    """The groups of (file, row) of examples with equal values in a field of `all_examples`."""
    groups = collections.defaultdict(set)
    for example in all_examples(directory, runs):
        groups[example[field]].add((example[0].file, example[1]))
    return {frozenset(group) for group in groups.values() if len(group) > 1}


def positions(groups: list[list[Duplicate]]) -> set[frozenset[tuple[str, int]]]:
    found = {frozenset((example.run.file, example.row) for example in group) for group in groups}
    assert len(found) == len(groups)
    assert sum(map(len, found)) == sum(map(len, groups))
    return found


@pytest.fixture
def runs(tmp_path):
    """Runs with repeated ids and pixels, within a run, between runs and between splits."""
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


# From one part with all hashes to the most parts.
@pytest.mark.parametrize("per_part", [4_000_000, 451, 450, 100, 7, 1])
def test_all_groups_are_found(per_part, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "_HASHES_PER_PART", per_part)
    by_id, by_pixels = brute_force(tmp_path, runs, 2), brute_force(tmp_path, runs, 3)
    assert len(by_id) > 50
    assert len(by_pixels) > 50
    assert positions(duplicates.find_by_id(runs, tmp_path)) == by_id
    assert positions(duplicates.find_by_pixels(runs, tmp_path)) == by_pixels


def test_each_run_is_read_once_however_many_parts_its_hashes_are_divided_into(
    tmp_path, monkeypatch
):
    runs = [
        write_run(tmp_path, [f"{number}-{n}" for n in range(2000)], [n % 256 for n in range(2000)])
        for number in range(3)
    ]
    opened = []

    def counted(path: Path) -> np.ndarray:
        opened.append(path)
        return sorted_runs.hash_column(path)

    monkeypatch.setattr(duplicates, "_HASHES_PER_PART", 100)
    found = duplicates._repeated_values([tmp_path / run.file for run in runs], counted, 6000)
    assert len(found) == 2000  # The runs have one file, whose hashes are repeated.
    assert len(opened) == 3


def test_a_duplicate_describes_its_example(runs, tmp_path):
    expected = {(each[0].file, each[1]): each for each in all_examples(tmp_path, runs)}
    groups = duplicates.find_by_id(runs, tmp_path) + duplicates.find_by_pixels(runs, tmp_path)
    for found in itertools.chain.from_iterable(groups):
        run, _, example_id, _, value, label = expected[found.run.file, found.row]
        assert (found.run, found.id, found.hash, found.label) == (run, example_id, value, label)
    for group in duplicates.find_by_pixels(runs, tmp_path):
        assert len({example.digest for example in group}) == 1


@pytest.mark.parametrize("find", [duplicates.find_by_id, duplicates.find_by_pixels])
def test_without_duplicates_there_are_no_groups(find, tmp_path):
    runs = [
        write_run(
            tmp_path,
            [f"{number}-{n}" for n in range(50)],
            range(50 * number, 50 * number + 50),
            number=number,
        )
        for number in range(4)
    ]
    assert find(runs, tmp_path) == []
    assert find(runs[:1], tmp_path) == []


def test_groups_do_not_depend_on_the_distribution_of_examples_over_runs(tmp_path):
    rng = np.random.default_rng(1)
    ids, pixels = [f"id-{n}" for n in rng.integers(0, 90, 100)], rng.integers(0, 90, 100)
    found = []
    for cuts in ([0, 100], [0, 1, 100], [0, 30, 31, 32, 99, 100]):
        runs = [
            write_run(tmp_path, ids[start:stop], pixels[start:stop], number=number)
            for number, (start, stop) in enumerate(itertools.pairwise(cuts))
        ]
        groups = duplicates.find_by_pixels(runs, tmp_path)
        found.append(sorted(sorted(example.id for example in group) for group in groups))
    assert found[0] == found[1] == found[2] != []


def test_different_ids_with_one_hash_are_not_duplicates(tmp_path):
    same = np.full(3, 77, np.uint64)
    runs = [
        write_run(tmp_path, ["a", "b", "c"], [1, 2, 3], number=0, hashes=same),
        write_run(tmp_path, ["d", "b", "e"], [4, 5, 6], number=1, hashes=same),
    ]
    groups = duplicates.find_by_id(runs, tmp_path)
    assert [[(example.run.slice, example.id) for example in group] for group in groups] == [
        [(0, "b"), (1, "b")]
    ]


def test_digests_with_one_equal_half_are_not_duplicates(tmp_path, monkeypatch):
    run = write_run(tmp_path, ["a", "b", "c"], [1, 2, 1])
    digests = sorted_runs.digest_column(tmp_path / run.file)
    assert len(duplicates.find_by_pixels([run], tmp_path)) == 1
    halved = digests.copy()
    halved[:, 0] = 5  # Such images are not known, so the digests are made up.
    monkeypatch.setattr(sorted_runs, "digest_column", lambda path: halved)
    (group,) = duplicates.find_by_pixels([run], tmp_path)
    assert sorted(example.id for example in group) == ["a", "c"]

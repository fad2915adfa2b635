import itertools
from pathlib import Path

import numpy as np
import pytest

from components.base.errors import WorkError
from components.data.examples import ExampleBatch
from components.ingest import sorted_runs
from components.ingest.run_file import new_run, open_run
from components.ingest.sorted_runs import NUM_HASHES
from tests.components.ingest.runs import digests_of, read_run
from tests.components.ingest.test_sorted_runs import (
    SHAPE,
    assert_contains,
    random_examples,
    write,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


def test_any_partition_of_the_hash_range_gives_all_examples(path):
    hashes, examples = write(path, random_examples(6000))
    rng = np.random.default_rng(0)
    near = [eighth * NUM_HASHES // 8 + step for eighth in range(1, 8) for step in (-1, 0, 1)]
    random_bounds = [int(each) for each in rng.integers(0, NUM_HASHES - 1, 30, np.uint64)]
    # 1023 to 1025 are at the bound of two blocks.
    rows = [*rng.integers(0, 6000, 5), 1023, 1024, 1025]
    exact = [int(hashes[row]) for row in rows]
    for inner in (
        [],
        [1, NUM_HASHES - 1],
        near,
        random_bounds,
        exact,
        [each + 1 for each in exact],
    ):
        first = 0
        for low, high in itertools.pairwise(sorted({0, *inner, NUM_HASHES})):
            content = read_run(path, SHAPE, low, high)
            assert content.first == first
            stop = first + len(content.examples)
            assert_contains(content, hashes[first:stop], examples.part(first, stop))
            assert all(
                low <= int(each) < high for each in (*content.hashes[:1], *content.hashes[-1:])
            )
            first = stop
        assert first == 6000


def test_an_open_run_can_be_read_many_times(path):
    hashes, examples = write(path, random_examples(6000))
    bounds = [n * NUM_HASHES // 7 for n in range(8)]
    with open_run(path) as run:
        parts = [run.read(SHAPE, *each) for each in itertools.pairwise(bounds)]
        all_examples = run.read(SHAPE, 0, NUM_HASHES)
    # The examples stay valid after the run is closed.
    assert_contains(all_examples, hashes, examples)
    np.testing.assert_array_equal(np.concatenate([part.hashes for part in parts]), hashes)
    assert ExampleBatch.concatenate(part.examples for part in parts).ids == examples.ids


def owned_bytes(array: np.ndarray) -> int:
    """The size of the memory that an array keeps alive."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    assert array.flags.owndata
    return array.nbytes


@pytest.mark.parametrize("share", [1, 3, 500])
def test_a_range_keeps_only_its_own_memory_alive(share, path):
    write(path, random_examples(6000))
    content = read_run(path, SHAPE, NUM_HASHES // 3, NUM_HASHES // 3 + NUM_HASHES // share // 2)
    assert 0 < len(content.examples) < 3300 / share + 10
    for array in (content.hashes, content.examples.images, content.examples.labels):
        assert owned_bytes(array) == array.nbytes


def test_a_range_without_hashes_is_empty(path):
    hashes, _ = write(path, random_examples(100))
    for low, high, first in (
        (0, int(hashes[0]), 0),
        (int(hashes[4]) + 1, int(hashes[5]), 5),
        (int(hashes[-1]) + 1, NUM_HASHES, 100),
    ):
        content = read_run(path, SHAPE, low, high)
        assert (content.first, len(content.examples), content.hashes.size) == (first, 0, 0)
        assert content.examples.images.shape == (0, *SHAPE)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_large_images(size, path):
    shape = (700, 600, 3)
    hashes, examples = write(path, random_examples(size, shape))
    assert_contains(read_run(path, shape, 0, NUM_HASHES), hashes, examples)
    for row, value in enumerate(hashes.tolist()):
        content = read_run(path, shape, value, value + 1)
        assert content.first == row
        assert_contains(content, hashes[row : row + 1], examples.part(row, row + 1))


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 2048, 3000])
def test_a_run_that_is_written_in_parts_reads_back(size, path):
    """The parts have other sizes than the blocks of the file."""
    hashes, examples = write(path, random_examples(size))
    content = read_run(path, SHAPE, 0, NUM_HASHES)
    with new_run(path) as run:
        for start in range(0, size, 700):
            rows = np.arange(start, min(start + 700, size))
            run.add(content.take(rows))
    again = read_run(path, SHAPE, 0, NUM_HASHES)
    assert_contains(again, hashes, examples)
    np.testing.assert_array_equal(again.digests, content.digests)
    np.testing.assert_array_equal(digests_of(path), content.digests)
    with open_run(path) as run:
        assert [example_id for _, ids in run.blocks() for example_id in ids] == examples.ids


def test_nothing_is_left_of_a_run_whose_writing_fails(path):
    with pytest.raises(ZeroDivisionError), new_run(path):
        raise ZeroDivisionError
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("damage", ["empty", "cut", "cut by a bit", "zeros", "longer"])
def test_a_damaged_run_is_named(damage, path):
    write(path, random_examples(2000))
    data = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": data[:-100],
            "cut by a bit": data[:-1],
            "zeros": bytes(len(data)),
            "longer": data[:50] + data,
        }[damage]
    )
    with pytest.raises(
        WorkError, match=r"run is missing or damaged: .*; remove the directory \S+, and"
    ):
        read_run(path, SHAPE, 0, NUM_HASHES)


def test_a_missing_run_is_named(path):
    with pytest.raises(WorkError, match=r"run is missing or damaged"):
        read_run(path, SHAPE, 0, NUM_HASHES)


def test_a_bit_of_the_index_that_is_flipped_is_found(path):
    write(path, random_examples(2000))
    data = path.read_bytes()
    index = 3 * 32 + 24  # the entries of two blocks and of the end, then the end of the file
    for bit in range(8 * index):
        place = len(data) - 1 - bit // 8
        changed = bytearray(data)
        changed[place] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            found = read_run(path, SHAPE, 0, NUM_HASHES)
        except WorkError:
            continue
        # The last entry has two numbers without a meaning.
        assert len(found.examples) == 2000
        assert 24 <= bit // 8 < 24 + 16


def bytes_read() -> int:
    """The bytes that this process has read, from files or the cache of the system."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"])


@pytest.mark.parametrize("num_parts", [1, 10, 100])
def test_the_images_of_a_run_are_read_once_however_it_is_divided(num_parts, path):
    write(path, random_examples(6000))
    num_bytes = 6000 * 256
    with open_run(path) as run:
        before = bytes_read()
        for part in range(num_parts):
            low, high = (NUM_HASHES * n // num_parts for n in (part, part + 1))
            run.read(SHAPE, low, high)
        # The keys and the ids of an example are some 50 bytes, in blocks of 1024 examples.
        assert num_bytes < bytes_read() - before < num_bytes + 6000 * 60 + num_parts * 20_000


def test_the_keys_are_read_without_the_images(path):
    write(path, random_examples(3000, shape=(64, 64, 1)))
    before = bytes_read()
    digests_of(path)
    sorted_runs.id_and_label_columns(path)
    assert bytes_read() - before < 2 * 3000 * 100


def test_the_keys_of_any_partition_are_those_of_the_examples(path):
    hashes, examples = write(path, random_examples(3000))
    content = read_run(path, SHAPE, 0, NUM_HASHES)
    inner = [int(hashes[row]) + step for row in (7, 1023, 1024, 2500) for step in (0, 1)]
    rows, found, ids = [], [], []
    with open_run(path) as run:
        for bounds in itertools.pairwise([0, *inner, NUM_HASHES]):
            for first, keys, joined in run.read_keys(*bounds):
                rows += range(first, first + len(keys))
                found.append(keys)
                ends = [0, *keys["id_end"].tolist()]
                assert ends[-1] == len(joined)
                ids += [joined[start:end].decode() for start, end in itertools.pairwise(ends)]
    keys = np.concatenate(found)
    assert rows == list(range(3000))
    assert ids == examples.ids
    np.testing.assert_array_equal(keys["hash"], hashes)
    np.testing.assert_array_equal(keys["digest"], content.digests)
    np.testing.assert_array_equal(keys["label"], examples.labels)

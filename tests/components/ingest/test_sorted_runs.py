import contextlib
import itertools

import numpy as np
import pytest

from components.base.errors import WorkError
from components.data.examples import ExampleBatch, hash_ids
from components.ingest import sorted_runs
from components.ingest.run_file import RunRange
from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from tests.components.ingest.runs import digests_of, read_run

SHAPE = (16, 16, 1)


def random_examples(size: int, shape=SHAPE, seed: int = 0) -> ExampleBatch:
    rng = np.random.default_rng(seed)
    ids = [f"{'ä' * int(rng.integers(4))}{n}" for n in range(size)]
    images = rng.integers(0, 256, (size, *shape), np.uint8)
    return ExampleBatch(ids, images, rng.integers(0, 2**40, size))


def in_order(examples: ExampleBatch, hashes: np.ndarray) -> list[int]:
    """The oracle for the order: indices of the examples by hash, then by id."""
    return sorted(range(len(examples)), key=lambda row: (int(hashes[row]), examples.ids[row]))


def write(
    path, examples: ExampleBatch, hashes: np.ndarray | None = None
) -> tuple[np.ndarray, ExampleBatch]:
    """Writes a run; returns the hashes and examples that it should contain, in order."""
    hashes = hash_ids(examples.ids) if hashes is None else hashes
    sorted_runs.write(path, examples, hashes)
    order = np.array(in_order(examples, hashes), np.int64)
    return hashes[order], examples.take(order)


def assert_contains(content: RunRange, hashes: np.ndarray, examples: ExampleBatch) -> None:
    np.testing.assert_array_equal(content.hashes, hashes)
    assert content.examples.ids == examples.ids
    np.testing.assert_array_equal(content.examples.images, examples.images)
    np.testing.assert_array_equal(content.examples.labels, examples.labels)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


@pytest.mark.parametrize("shape", [(1, 1, 1), SHAPE, (5, 7, 3)])
@pytest.mark.parametrize("size", [1, 2, 3, 700])
def test_a_run_reads_back_in_order(size, shape, path):
    hashes, examples = write(path, random_examples(size, shape))
    content = read_run(path, shape, 0, NUM_HASHES)
    assert content.first == 0
    assert_contains(content, hashes, examples)
    assert (content.hashes.dtype, content.examples.images.dtype) == (np.uint64, np.uint8)
    assert content.examples.labels.dtype == np.int64
    ids, labels = sorted_runs.id_and_label_columns(path)
    assert ids == examples.ids
    np.testing.assert_array_equal(labels, examples.labels)


@pytest.mark.parametrize("value", [0, 2**63 - 1, 2**63, NUM_HASHES - 1])
def test_examples_with_one_hash_are_together_in_the_order_of_their_ids(value, path):
    examples = random_examples(4000)
    hashes, ordered = write(path, examples, np.full(4000, value, np.uint64))
    assert ordered.ids == sorted(examples.ids)
    content = read_run(path, SHAPE, value, value + 1)
    assert content.first == 0
    assert_contains(content, hashes, ordered)
    for low, high in ((0, value), (value + 1, NUM_HASHES)):
        if low < high:
            assert len(read_run(path, SHAPE, low, high).examples) == 0


def test_the_order_is_by_hash_and_then_by_id():
    ids = ["b", "ä", "a", "aa", "c", "z"]
    hashes = np.array([5, 5, 5, 5, 2**64 - 1, 0], np.uint64)
    assert [ids[row] for row in sorted_runs.sort_order(hashes, ids)] == [
        "z",
        "a",
        "aa",
        "b",
        "ä",
        "c",
    ]
    rng = np.random.default_rng(0)
    for most in (3, 50, 2**63):
        examples = random_examples(50)
        hashes = rng.integers(0, most, 50, np.uint64)
        assert sorted_runs.sort_order(hashes, examples.ids).tolist() == in_order(examples, hashes)


def test_the_file_does_not_depend_on_the_order_of_the_input(tmp_path):
    examples = random_examples(900)
    shuffled = examples.take(np.random.default_rng(0).permutation(900))
    write(tmp_path / "one", examples)
    write(tmp_path / "other", shuffled)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_run_is_replaced_atomically_without_leftovers(tmp_path):
    write(tmp_path / "run", random_examples(900))
    hashes, examples = write(tmp_path / "run", random_examples(3, seed=1))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert_contains(read_run(tmp_path / "run", SHAPE, 0, NUM_HASHES), hashes, examples)


def test_what_was_read_does_not_change_with_the_file(path):
    hashes, examples = write(path, random_examples(50))
    content, digests = read_run(path, SHAPE, 0, NUM_HASHES), digests_of(path)
    expected = digests.copy()
    # Overwritten in place: memory mapped to the file would change.
    path.write_bytes(bytes(path.stat().st_size))
    assert_contains(content, hashes, examples)
    np.testing.assert_array_equal(digests, expected)


def test_dropped_rows_are_left_out_of_any_range(path):
    hashes, examples = write(path, random_examples(200))
    dropped = frozenset({0, 57, 100, 101, 199})
    kept = np.array(sorted(set(range(200)) - dropped))
    everything = read_run(path, SHAPE, 0, NUM_HASHES)
    assert_contains(everything.without(dropped), hashes[kept], examples.take(kept))
    assert_contains(everything.without(frozenset()), hashes, examples)
    parts = [
        read_run(path, SHAPE, low, high).without(dropped)
        for low, high in itertools.pairwise([0, int(hashes[57]), int(hashes[101]), NUM_HASHES])
    ]
    assert [len(part.examples) for part in parts] == [56, 42, 97]
    assert ExampleBatch.concatenate(part.examples for part in parts).ids == examples.take(kept).ids
    assert len(everything.without(frozenset(range(200))).examples) == 0


def test_digests_are_equal_exactly_for_equal_pixels(path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, *SHAPE), np.uint8)
    changed = images.copy()
    changed[:, 15, 15, 0] ^= 1
    pixels = np.concatenate([images, changed, images])
    _, examples = write(
        path, ExampleBatch([f"{n}" for n in range(18)], pixels, np.zeros(18, np.int64))
    )
    digests = [tuple(row) for row in digests_of(path).tolist()]
    contents = [image.tobytes() for image in examples.images]
    for one, other in itertools.combinations(range(18), 2):
        assert (digests[one] == digests[other]) == (contents[one] == contents[other])


def test_a_bit_that_is_flipped_anywhere_in_a_run_is_found(path):
    examples = random_examples(20, SHAPE)
    sorted_runs.write(path, examples, hash_ids(examples.ids))
    tally = sorted_runs.verified(path)
    assert tally.total == 20
    data = path.read_bytes()
    for place in range(len(data) - 24 - 16):  # the last 16 bytes of the index have no meaning
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with contextlib.suppress(WorkError):
            assert not sorted_runs.verified(path).has_inputs_of(tally)


def test_digests_do_not_depend_on_the_run(tmp_path):
    examples = random_examples(40)
    write(tmp_path / "all", examples)
    write(tmp_path / "one", ExampleBatch(["another id"], examples.images[7:8], examples.labels[:1]))
    content = read_run(tmp_path / "all", SHAPE, 0, NUM_HASHES)
    row = content.examples.ids.index(examples.ids[7])
    np.testing.assert_array_equal(
        digests_of(tmp_path / "one")[0],
        digests_of(tmp_path / "all")[row],
    )


def write_runs(directory, examples: ExampleBatch, cuts: list[int]) -> list[SortedRun]:
    """Writes runs of the parts of some examples."""
    runs = []
    for number, (start, stop) in enumerate(itertools.pairwise([*cuts, len(examples)])):
        run = SortedRun(f"{number}", number, "train", SHAPE, stop - start)
        write(directory / run.file, examples.part(start, stop))
        runs.append(run)
    return runs


@pytest.mark.parametrize("merged_bytes", [1, 2_000, 8 << 20])
def test_runs_are_merged_in_order(merged_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(sorted_runs, "_MERGED_BYTES", merged_bytes)
    examples = random_examples(300)
    runs = write_runs(tmp_path, examples, [0, 1, 60, 61, 180])
    hashes = hash_ids(examples.ids)
    low, high = NUM_HASHES // 5, NUM_HASHES // 2
    order = [row for row in in_order(examples, hashes) if low <= int(hashes[row]) < high]
    parts = list(sorted_runs.merged(runs, tmp_path, (low, high)))
    found = ExampleBatch.concatenate(part.examples for part in parts)
    expected = examples.take(np.array(order, np.int64))
    assert found.ids == expected.ids
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(np.concatenate([part.hashes for part in parts]), hashes[order])
    assert len(parts) > 10 if merged_bytes < 8 << 20 else len(parts) == 1


def test_merged_runs_lack_the_dropped_rows(tmp_path):
    examples = random_examples(100)
    runs = write_runs(tmp_path, examples, [0, 50])
    ids, _ = sorted_runs.id_and_label_columns(tmp_path / "1")
    (part,) = sorted_runs.merged(runs, tmp_path, dropped={"1": frozenset({0, 7, 49})})
    assert set(examples.ids) - set(part.examples.ids) == {ids[0], ids[7], ids[49]}


def test_of_equal_ids_the_example_of_the_earlier_run_comes_first(tmp_path):
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    same = ExampleBatch(["a"] * 3, np.broadcast_to(images, (3, *SHAPE)), np.arange(3))
    runs = write_runs(tmp_path, same, [0, 1, 2])
    for order in ([0, 1, 2], [2, 0, 1]):
        (part,) = sorted_runs.merged([runs[number] for number in order], tmp_path)
        assert part.examples.labels.tolist() == order

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from components.base.arithmetic import ceil_div
from components.data.dataset_counts import DuplicateCounts
from components.data.examples import ExampleBatch, hash_ids
from components.ingest import sorted_runs
from components.ingest.ledger import InputTally
from components.ingest.rejection import Reason
from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from pipeline.prepare.messages import ReadReport
from pipeline.prepare.shard_plan import ShardPlan, common_shape
from tests.components.ingest.runs import read_run
from tests.pipeline.prepare.listed_source import (
    dropped_by_file,
    listed_duplicates,
    plan_runs,
    rejected_examples,
)

SHAPE = (4, 5, 1)
IMAGE_BYTES = 20


def write_run(
    directory: Path, ids, *, number=0, split="train", pixels=None, hashes=None
) -> SortedRun:
    """Writes a run of random images, or of images that are filled with the values `pixels`."""
    rng = np.random.default_rng(number)
    images = rng.integers(0, 256, (len(ids), *SHAPE), np.uint8)
    if pixels is not None:
        images[:] = np.array(pixels, np.uint8).reshape(-1, 1, 1, 1)
    run = SortedRun(f"{number:06d}-000", number, split, SHAPE, len(ids))
    batch = ExampleBatch(list(ids), images, np.arange(len(ids)) % 3)
    sorted_runs.write(directory / run.file, batch, hash_ids(ids) if hashes is None else hashes)
    return run


def ids_by_shard(plan: ShardPlan, runs, directory) -> dict[str, list[str]]:
    """The ids in each shard, by its file name, found without the workers."""
    shards = {}
    for task in plan.tasks:
        ids = shards.setdefault(task.file, [])
        dropped_rows = dropped_by_file(plan, directory, (task.low, task.high))
        for run in runs:
            if run.split == task.source_split:
                rows = read_run(directory / run.file, SHAPE, 0, NUM_HASHES)
                dropped = dropped_rows.get(run.file, frozenset())
                ids += [
                    example_id
                    for row, example_id in enumerate(rows.examples.ids)
                    if row not in dropped and task.low <= int(rows.hashes[row]) < task.high
                ]
    return shards


def names(count: int, split: str = "train") -> list[str]:
    return [f"{split}-{number:08d}" for number in range(count)]


def report(*shapes_and_rows) -> ReadReport:
    runs = [SortedRun("", 0, "train", shape, rows) for shape, rows in shapes_and_rows]
    return ReadReport(0, "train", InputTally(), InputTally(), runs)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([], None),
        ([((2, 2, 1), 1)], (2, 2, 1)),
        ([((2, 2, 1), 3), ((9, 9, 3), 2)], (2, 2, 1)),
        ([((2, 2, 1), 3), ((9, 9, 3), 2), ((9, 9, 3), 2)], (9, 9, 3)),
        ([((2, 2, 1), 3), ((2, 3, 1), 3)], (2, 3, 1)),
        ([((2, 2, 1), 3), ((2, 2, 3), 3)], (2, 2, 3)),
    ],
)
def test_the_common_shape_does_not_depend_on_the_order_of_reports(counts, expected):
    for order in itertools.permutations(counts):
        assert common_shape([report(*order)]) == expected
        assert common_shape([report(count) for count in order]) == expected


def test_the_validation_split_has_the_requested_size(tmp_path):
    runs = [write_run(tmp_path, names(20_000))]
    sizes = {"train": 0, "validation": 0}
    for task in plan_runs(runs, tmp_path, fraction=0.2).tasks:
        sizes[task.split] += task.examples
    assert sum(sizes.values()) == 20_000
    # Within four standard deviations of the binomial distribution.
    assert sizes["validation"] == pytest.approx(4000, abs=4 * np.sqrt(20_000 * 0.2 * 0.8))


# From one byte per shard to more than the dataset has.
@pytest.mark.parametrize("shard_bytes", [1, 100, 1000, 5000, 30_000, 1 << 40])
@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_every_example_is_in_one_shard_and_no_shard_is_empty(shard_bytes, fraction, tmp_path):
    ids = names(3000) + names(40, "test") + names(1, "validation")
    runs = [
        write_run(tmp_path, ids[:1000], number=0),
        write_run(tmp_path, ids[1000:3000], number=1),
        write_run(tmp_path, ids[3000:3040], number=2, split="test"),
    ]
    if not fraction:
        runs.append(write_run(tmp_path, ids[3040:], number=3, split="validation"))
    plan = plan_runs(runs, tmp_path, fraction=fraction, shard_bytes=shard_bytes)
    shards = ids_by_shard(plan, runs, tmp_path)
    assert len(shards) == len(plan.tasks)
    assert sorted(itertools.chain(*shards.values())) == sorted(ids[: 3040 + (not fraction)])
    for task in plan.tasks:
        assert task.examples == len(shards[task.file]) > 0
    for split in {task.split for task in plan.tasks}:
        tasks = [task for task in plan.tasks if task.split == split]
        assert [task.file for task in tasks] == [
            f"cats-{split}.tfrecord-{n:05d}-of-{len(tasks):05d}" for n in range(len(tasks))
        ]
        assert all(one.high == other.low for one, other in itertools.pairwise(tasks))
        examples = sum(task.examples for task in tasks)
        assert len(tasks) <= max(1, examples // 16)
        if len(tasks) > 1:
            assert len(tasks) <= ceil_div(examples * IMAGE_BYTES, shard_bytes)


@pytest.mark.parametrize("shard_bytes", [2_000, 20_000])
def test_shards_have_about_the_requested_size(shard_bytes, tmp_path):
    runs = [write_run(tmp_path, names(20_000))]
    tasks = plan_runs(runs, tmp_path, shard_bytes=shard_bytes).tasks
    expected = 20_000 * IMAGE_BYTES / shard_bytes
    assert len(tasks) == expected
    mean = 20_000 / expected
    # A shard's size is binomial; five standard deviations.
    assert max(abs(task.examples - mean) for task in tasks) < 5 * np.sqrt(mean)


def test_uneven_hashes_leave_no_shard_empty(tmp_path):
    # All hashes are in the lowest thousandth, except one at the end.
    low = [place * (NUM_HASHES // 1_000_000) for place in range(999)]
    hashes = np.array([*low, NUM_HASHES - 1], np.uint64)
    runs = [write_run(tmp_path, names(1000), hashes=hashes)]
    tasks = plan_runs(runs, tmp_path, shard_bytes=1).tasks
    assert sum(task.examples for task in tasks) == 1000
    assert all(task.examples for task in tasks)
    same = [write_run(tmp_path, names(1000), hashes=np.full(1000, NUM_HASHES - 1, np.uint64))]
    assert [task.examples for task in plan_runs(same, tmp_path, shard_bytes=1).tasks] == [1000]


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17])
def test_few_examples_make_one_shard(count, tmp_path):
    runs = [write_run(tmp_path, names(count))]
    (task,) = plan_runs(runs, tmp_path, shard_bytes=1).tasks
    assert (task.low, task.high, task.examples) == (0, NUM_HASHES, count)
    assert task.file == "cats-train.tfrecord-00000-of-00001"


def test_the_plan_does_not_depend_on_the_slices(tmp_path):
    ids, pixels = [*names(500), "train-00000007"], [n % 250 for n in range(501)]
    plans = []
    for cuts in ([0, 501], [0, 1, 200, 501], [0, 100, 101, 102, 400, 501]):
        runs = [
            write_run(tmp_path, ids[start:stop], number=number, pixels=pixels[start:stop])
            for number, (start, stop) in enumerate(itertools.pairwise(cuts))
        ]
        plan = plan_runs(runs, tmp_path, fraction=0.3, shard_bytes=1000, drop_duplicates=True)
        rejected = sorted(
            (item.id, item.reason, item.detail) for item in rejected_examples(plan, tmp_path)
        )
        shards = {name: sorted(ids) for name, ids in ids_by_shard(plan, runs, tmp_path).items()}
        # The runs have labels of their own.
        plan = dataclasses.replace(plan, rejected={})
        plans.append((plan, rejected, listed_duplicates(plan, tmp_path), shards))
    assert plans[0] == plans[1] == plans[2]
    assert len(plans[0][0].tasks) > 2


def leaking(directory: Path) -> list[SortedRun]:
    """Writes runs with duplicates across the splits, and within one split."""
    return [
        write_run(directory, ["e", "b", "x"], number=0, split="train", pixels=[1, 2, 3]),
        write_run(directory, ["a", "d"], number=1, split="validation", pixels=[1, 2]),
        write_run(directory, ["f", "z", "y"], number=2, split="test", pixels=[1, 4, 4]),
    ]


def test_a_duplicate_is_kept_in_test_before_validation_before_train(tmp_path):
    runs = leaking(tmp_path)
    plan = plan_runs(runs, tmp_path, drop_duplicates=True)
    assert listed_duplicates(plan, tmp_path) == [
        [
            {"id": "f", "split": "test"},
            {"id": "a", "split": "validation"},
            {"id": "e", "split": "train"},
        ],
        [{"id": "y", "split": "test"}, {"id": "z", "split": "test"}],
        [{"id": "d", "split": "validation"}, {"id": "b", "split": "train"}],
    ]
    rejected = rejected_examples(plan, tmp_path)
    assert {(item.id, item.split, item.reason, item.detail) for item in rejected} == {
        ("a", "validation", Reason.DUPLICATE_CONTENT, "the same pixels as f"),
        ("e", "train", Reason.DUPLICATE_CONTENT, "the same pixels as f"),
        ("z", "test", Reason.DUPLICATE_CONTENT, "the same pixels as y"),
        ("b", "train", Reason.DUPLICATE_CONTENT, "the same pixels as d"),
    }
    assert plan.duplicates == DuplicateCounts(
        images=3, by_splits={"test": 1, "train+validation": 1, "train+validation+test": 1}
    )
    assert [image["id"] for image in plan.first] == ["f", "a", "e"]
    assert {split: tally.total for split, tally in plan.rejected.items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    shards = ids_by_shard(plan, runs, tmp_path)
    assert sorted(itertools.chain(*shards.values())) == ["d", "f", "x", "y"]


def test_a_dropped_duplicate_keeps_its_own_label(tmp_path):
    runs = [write_run(tmp_path, ["a", "b", "c"], pixels=[9, 9, 9])]
    plan = plan_runs(runs, tmp_path, drop_duplicates=True)
    rejected = rejected_examples(plan, tmp_path)
    assert sorted((item.id, item.label) for item in rejected) == [("b", 1), ("c", 2)]


def test_duplicates_are_listed_even_if_they_are_kept(tmp_path):
    runs = leaking(tmp_path)
    plan = plan_runs(runs, tmp_path)
    listed = listed_duplicates(plan, tmp_path)
    assert plan.rejected == {}
    assert rejected_examples(plan, tmp_path) == []
    assert dropped_by_file(plan, tmp_path) == {}
    assert sum(task.examples for task in plan.tasks) == 8
    dropping = plan_runs(runs, tmp_path, drop_duplicates=True)
    assert listed_duplicates(dropping, tmp_path) == listed
    assert dropping.duplicates == plan.duplicates


def test_a_duplicate_from_train_may_be_in_validation(tmp_path):
    low, high = np.uint64(0), np.uint64(NUM_HASHES - 1)
    runs = [write_run(tmp_path, ["a", "b"], pixels=[1, 1], hashes=np.array([high, low]))]
    plan = plan_runs(runs, tmp_path, fraction=0.5, drop_duplicates=True)
    assert listed_duplicates(plan, tmp_path) == [
        [{"id": "b", "split": "validation"}, {"id": "a", "split": "train"}]
    ]
    (rejected,) = rejected_examples(plan, tmp_path)
    assert (rejected.id, rejected.split) == ("a", "train")
    assert [(task.split, task.examples) for task in plan.tasks] == [("validation", 1)]


@pytest.mark.parametrize("drop_duplicates", [False, True])
def test_one_of_several_inputs_with_the_same_id_is_kept(drop_duplicates, tmp_path):
    runs = [
        write_run(tmp_path, ["a", "b", "a"], number=0, pixels=[1, 2, 3]),
        write_run(tmp_path, ["a", "c"], number=1, pixels=[1, 5]),
        write_run(tmp_path, ["b"], number=2, split="test", pixels=[7]),
    ]
    plan = plan_runs(runs, tmp_path, drop_duplicates=drop_duplicates)
    rejected = rejected_examples(plan, tmp_path)
    assert sorted((item.id, item.split, item.reason) for item in rejected) == [
        ("a", "train", Reason.DUPLICATE_KEY),
        ("a", "train", Reason.DUPLICATE_KEY),
        ("b", "train", Reason.DUPLICATE_KEY),
    ]
    assert {item.detail for item in rejected} == {
        "another input has the id a",
        "another input has the id b",
    }
    # Two of the inputs have the same pixels, but only one of these two is kept.
    assert plan.duplicates.images == 0
    shards = ids_by_shard(plan, runs, tmp_path)
    assert sorted(itertools.chain(*shards.values())) == ["a", "b", "c"]


def test_an_input_dropped_for_its_id_is_not_a_duplicate_of_others(tmp_path):
    # `a` in train is dropped in favor of `a` in test. Then only `b` has these pixels.
    runs = [
        write_run(tmp_path, ["a", "b"], number=0, pixels=[1, 1]),
        write_run(tmp_path, ["a"], number=1, split="test", pixels=[2]),
    ]
    plan = plan_runs(runs, tmp_path, drop_duplicates=True)
    (rejected,) = rejected_examples(plan, tmp_path)
    assert (rejected.id, rejected.reason) == ("a", Reason.DUPLICATE_KEY)
    assert plan.duplicates.images == 0
    shards = ids_by_shard(plan, runs, tmp_path)
    assert sorted(itertools.chain(*shards.values())) == ["a", "b"]


def test_a_split_of_only_dropped_duplicates_has_no_shard(tmp_path):
    runs = [
        write_run(tmp_path, ["a", "b"], number=0, pixels=[1, 2]),
        write_run(tmp_path, ["c", "d"], number=1, split="test", pixels=[1, 2]),
    ]
    plan = plan_runs(runs, tmp_path, drop_duplicates=True)
    assert [(task.split, task.examples) for task in plan.tasks] == [("test", 2)]

import itertools
from pathlib import Path

import numpy as np
import pytest

from components.data.examples import ExampleBatch, hash_ids
from components.ingest import sorted_runs
from components.ingest.duplicates import Twin
from components.ingest.ledger import Account, Reason
from components.ingest.sorted_runs import HASHES, SortedRun
from pipeline.prepare.messages import ReadReport
from pipeline.prepare.shard_plan import Assignment, ShardPlan, common_shape, plan_shards

SHAPE = (4, 5, 1)
IMAGE_BYTES = 20


def write_run(
    directory: Path, ids, *, number=0, split="train", pixels=None, hashes=None
) -> SortedRun:
    """A run of images that are each filled with one value; by default all differ."""
    rng = np.random.default_rng(number)
    images = rng.integers(0, 256, (len(ids), *SHAPE), np.uint8)
    if pixels is not None:
        images[:] = np.array(pixels, np.uint8).reshape(-1, 1, 1, 1)
    run = SortedRun(f"{number:06d}-000", number, split, SHAPE, len(ids))
    block = ExampleBatch(list(ids), images, np.arange(len(ids)) % 3)
    sorted_runs.write(directory / run.file, block, hash_ids(ids) if hashes is None else hashes)
    return run


def planned(
    members, directory, *, fraction=0.0, shard_bytes=1 << 20, drop_duplicates=False
) -> ShardPlan:
    return plan_shards(
        members,
        directory,
        assignment=Assignment(fraction, shard_bytes),
        drop_duplicates=drop_duplicates,
        dataset="cats",
    )


def written(layout: ShardPlan, members, directory) -> dict[str, list[str]]:
    """The ids of each task's shard, by its file's name, gathered outright."""
    found = {}
    for task in layout.tasks:
        ids = found.setdefault(task.file, [])
        for run in members:
            if run.split == task.source_split:
                rows = sorted_runs.read(directory / run.file, SHAPE, 0, HASHES)
                gone = layout.dropped.get(run.file, frozenset())
                ids += [
                    example_id
                    for row, example_id in enumerate(rows.block.ids)
                    if row not in gone and task.low <= int(rows.hashes[row]) < task.high
                ]
    return found


def names(count: int, split: str = "train") -> list[str]:
    return [f"{split}-{number:08d}" for number in range(count)]


def report(*shapes_and_rows) -> ReadReport:
    members = [SortedRun("", 0, "train", shape, rows) for shape, rows in shapes_and_rows]
    return ReadReport(0, "train", Account(), Account(), members)


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ([], None),
        ([((2, 2, 1), 1)], (2, 2, 1)),
        ([((2, 2, 1), 3), ((9, 9, 3), 2)], (2, 2, 1)),
        ([((2, 2, 1), 3), ((9, 9, 3), 2), ((9, 9, 3), 2)], (9, 9, 3)),
        ([((2, 2, 1), 3), ((2, 3, 1), 3)], (2, 3, 1)),
        ([((2, 2, 1), 3), ((2, 2, 3), 3)], (2, 2, 3)),
    ],
)
def test_the_commonest_shape_is_found_whoever_reports_first(counts, wanted):
    for order in itertools.permutations(counts):
        assert common_shape([report(*order)]) == wanted
        assert common_shape([report(each) for each in order]) == wanted


def test_only_train_is_cut():
    assignment = Assignment(0.25, 1)
    assert assignment.ranges("test") == {"test": (0, HASHES)}
    assert assignment.ranges("validation") == {"validation": (0, HASHES)}
    assert assignment.ranges("train") == {
        "train": (HASHES // 4, HASHES),
        "validation": (0, HASHES // 4),
    }
    assert Assignment(0.0, 1).ranges("train") == {"train": (0, HASHES)}


@pytest.mark.parametrize("fraction", [0.0, 1e-30, 0.1, 0.5, 0.999])
def test_the_ranges_are_all_hashes_and_tell_the_split(fraction):
    assignment = Assignment(fraction, 1)
    ranges = sorted(assignment.ranges("train").values())
    assert (ranges[0][0], ranges[-1][1]) == (0, HASHES)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ranges))
    run = SortedRun("", 0, "train", SHAPE, 1)
    for split, (low, high) in assignment.ranges("train").items():
        for value in (low, (low + high) // 2, high - 1):
            assert assignment.split_of(Twin(run, 0, "", (0, 0), value, 0)) == split


def test_the_shares_are_those_asked_for(tmp_path):
    members = [write_run(tmp_path, names(20_000))]
    sizes = {"train": 0, "validation": 0}
    for task in planned(members, tmp_path, fraction=0.2).tasks:
        sizes[task.split] += task.examples
    assert sum(sizes.values()) == 20_000
    # Four deviations of the binomial distribution.
    assert sizes["validation"] == pytest.approx(4000, abs=4 * np.sqrt(20_000 * 0.2 * 0.8))


# Including one byte a shard, and more than there is.
@pytest.mark.parametrize("shard_bytes", [1, 100, 1000, 5000, 30_000, 1 << 40])
@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_every_example_is_in_one_shard_and_no_shard_is_empty(shard_bytes, fraction, tmp_path):
    ids = names(3000) + names(40, "test") + names(1, "validation")
    members = [
        write_run(tmp_path, ids[:1000], number=0),
        write_run(tmp_path, ids[1000:3000], number=1),
        write_run(tmp_path, ids[3000:3040], number=2, split="test"),
    ]
    if not fraction:
        members.append(write_run(tmp_path, ids[3040:], number=3, split="validation"))
    layout = planned(members, tmp_path, fraction=fraction, shard_bytes=shard_bytes)
    shards = written(layout, members, tmp_path)
    assert len(shards) == len(layout.tasks)
    assert sorted(itertools.chain(*shards.values())) == sorted(ids[: 3040 + (not fraction)])
    for task in layout.tasks:
        assert task.examples == len(shards[task.file]) > 0
    for split in {task.split for task in layout.tasks}:
        mine = [task for task in layout.tasks if task.split == split]
        assert [task.file for task in mine] == [
            f"cats-{split}.tfrecord-{n:05d}-of-{len(mine):05d}" for n in range(len(mine))
        ]
        assert all(one.high == other.low for one, other in itertools.pairwise(mine))
        examples = sum(task.examples for task in mine)
        assert len(mine) <= max(1, examples // 16)
        if len(mine) > 1:
            assert len(mine) <= -(-examples * IMAGE_BYTES // shard_bytes)


@pytest.mark.parametrize("shard_bytes", [2_000, 20_000])
def test_shards_are_about_as_large_as_asked_for(shard_bytes, tmp_path):
    members = [write_run(tmp_path, names(20_000))]
    tasks = planned(members, tmp_path, shard_bytes=shard_bytes).tasks
    wanted = 20_000 * IMAGE_BYTES / shard_bytes
    assert len(tasks) == wanted
    mean = 20_000 / wanted
    # A shard's size is binomial: five deviations.
    assert max(abs(task.examples - mean) for task in tasks) < 5 * np.sqrt(mean)


def test_hashes_that_lie_badly_leave_no_shard_empty(tmp_path):
    # All in the lowest thousandth, but for one in the last.
    low = [place * (HASHES // 1_000_000) for place in range(999)]
    hashes = np.array([*low, HASHES - 1], np.uint64)
    members = [write_run(tmp_path, names(1000), hashes=hashes)]
    tasks = planned(members, tmp_path, shard_bytes=1).tasks
    assert sum(task.examples for task in tasks) == 1000
    assert all(task.examples for task in tasks)
    same = [write_run(tmp_path, names(1000), hashes=np.full(1000, HASHES - 1, np.uint64))]
    assert [task.examples for task in planned(same, tmp_path, shard_bytes=1).tasks] == [1000]


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17])
def test_few_examples_are_one_shard(count, tmp_path):
    members = [write_run(tmp_path, names(count))]
    (task,) = planned(members, tmp_path, shard_bytes=1).tasks
    assert (task.low, task.high, task.examples) == (0, HASHES, count)
    assert task.file == "cats-train.tfrecord-00000-of-00001"


def test_the_plan_does_not_depend_on_how_the_examples_were_read(tmp_path):
    ids, pixels = [*names(500), "train-00000007"], [n % 250 for n in range(501)]
    plans = []
    for cuts in ([0, 501], [0, 1, 200, 501], [0, 100, 101, 102, 400, 501]):
        members = [
            write_run(tmp_path, ids[start:stop], number=number, pixels=pixels[start:stop])
            for number, (start, stop) in enumerate(itertools.pairwise(cuts))
        ]
        layout = planned(members, tmp_path, fraction=0.3, shard_bytes=1000, drop_duplicates=True)
        rejected = sorted((item.id, item.reason, item.detail) for _, item in layout.rejected)
        shards = {name: sorted(ids) for name, ids in written(layout, members, tmp_path).items()}
        plans.append((layout.tasks, rejected, layout.duplicates, shards))
    assert plans[0] == plans[1] == plans[2]
    assert len(plans[0][0]) > 2


def leaking(directory: Path) -> list[SortedRun]:
    """The same pixels in every split, and others within one."""
    return [
        write_run(directory, ["e", "b", "x"], number=0, split="train", pixels=[1, 2, 3]),
        write_run(directory, ["a", "d"], number=1, split="validation", pixels=[1, 2]),
        write_run(directory, ["f", "z", "y"], number=2, split="test", pixels=[1, 4, 4]),
    ]


def test_of_duplicates_one_is_kept_where_it_harms_least(tmp_path):
    members = leaking(tmp_path)
    layout = planned(members, tmp_path, drop_duplicates=True)
    assert layout.duplicates == [
        [
            {"id": "f", "split": "test"},
            {"id": "a", "split": "validation"},
            {"id": "e", "split": "train"},
        ],
        [{"id": "y", "split": "test"}, {"id": "z", "split": "test"}],
        [{"id": "d", "split": "validation"}, {"id": "b", "split": "train"}],
    ]
    assert {(item.id, item.split, item.reason, item.detail) for _, item in layout.rejected} == {
        ("a", "validation", Reason.DUPLICATE_CONTENT, "the same pixels as f"),
        ("e", "train", Reason.DUPLICATE_CONTENT, "the same pixels as f"),
        ("z", "test", Reason.DUPLICATE_CONTENT, "the same pixels as y"),
        ("b", "train", Reason.DUPLICATE_CONTENT, "the same pixels as d"),
    }
    assert {item.id: number for number, item in layout.rejected} == {"a": 1, "e": 0, "z": 2, "b": 0}
    shards = written(layout, members, tmp_path)
    assert sorted(itertools.chain(*shards.values())) == ["d", "f", "x", "y"]


def test_a_rejected_duplicate_has_its_own_label(tmp_path):
    members = [write_run(tmp_path, ["a", "b", "c"], pixels=[9, 9, 9])]
    layout = planned(members, tmp_path, drop_duplicates=True)
    assert sorted((item.id, item.label) for _, item in layout.rejected) == [("b", 1), ("c", 2)]


def test_duplicates_that_are_kept_are_listed_all_the_same(tmp_path):
    members = leaking(tmp_path)
    layout = planned(members, tmp_path)
    assert layout.duplicates == planned(members, tmp_path, drop_duplicates=True).duplicates
    assert (layout.rejected, layout.dropped) == ([], {})
    assert sum(task.examples for task in layout.tasks) == 8


def test_the_split_of_a_duplicate_is_that_which_train_is_cut_into(tmp_path):
    low, high = np.uint64(0), np.uint64(HASHES - 1)
    members = [write_run(tmp_path, ["a", "b"], pixels=[1, 1], hashes=np.array([high, low]))]
    layout = planned(members, tmp_path, fraction=0.5, drop_duplicates=True)
    assert layout.duplicates == [
        [{"id": "b", "split": "validation"}, {"id": "a", "split": "train"}]
    ]
    ((_, rejected),) = layout.rejected
    assert (rejected.id, rejected.split) == ("a", "train")
    assert [(task.split, task.examples) for task in layout.tasks] == [("validation", 1)]


@pytest.mark.parametrize("drop_duplicates", [False, True])
def test_of_inputs_with_one_id_one_is_kept(drop_duplicates, tmp_path):
    members = [
        write_run(tmp_path, ["a", "b", "a"], number=0, pixels=[1, 2, 3]),
        write_run(tmp_path, ["a", "c"], number=1, pixels=[1, 5]),
        write_run(tmp_path, ["b"], number=2, split="test", pixels=[7]),
    ]
    layout = planned(members, tmp_path, drop_duplicates=drop_duplicates)
    assert sorted((item.id, item.split, item.reason) for _, item in layout.rejected) == [
        ("a", "train", Reason.DUPLICATE_KEY),
        ("a", "train", Reason.DUPLICATE_KEY),
        ("b", "train", Reason.DUPLICATE_KEY),
    ]
    assert {item.detail for _, item in layout.rejected} == {
        "another input has the id a",
        "another input has the id b",
    }
    # Two of them have the same pixels, but of these at most one is left.
    assert layout.duplicates == []
    shards = written(layout, members, tmp_path)
    assert sorted(itertools.chain(*shards.values())) == ["a", "b", "c"]


def test_an_id_that_goes_takes_no_twin_with_it(tmp_path):
    # `a` of train goes for the sake of test's; then b is the only one with its pixels.
    members = [
        write_run(tmp_path, ["a", "b"], number=0, pixels=[1, 1]),
        write_run(tmp_path, ["a"], number=1, split="test", pixels=[2]),
    ]
    layout = planned(members, tmp_path, drop_duplicates=True)
    assert [(item.id, item.reason) for _, item in layout.rejected] == [("a", Reason.DUPLICATE_KEY)]
    assert layout.duplicates == []
    shards = written(layout, members, tmp_path)
    assert sorted(itertools.chain(*shards.values())) == ["a", "b"]


def test_a_shard_that_loses_all_to_duplicates_is_not_planned(tmp_path):
    members = [
        write_run(tmp_path, ["a", "b"], number=0, pixels=[1, 2]),
        write_run(tmp_path, ["c", "d"], number=1, split="test", pixels=[1, 2]),
    ]
    layout = planned(members, tmp_path, drop_duplicates=True)
    assert [(task.split, task.examples) for task in layout.tasks] == [("test", 2)]

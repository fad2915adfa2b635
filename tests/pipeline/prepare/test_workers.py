import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from components.base.errors import WorkError
from components.base.manifest import OutputRecord
from components.data import codec
from components.data.examples import ExampleBatch, hash_ids
from components.ingest import sorted_runs
from components.ingest.ledger import InputTally
from components.ingest.rejection import Reason, Rejected
from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from components.ingest.statistics import Statistics
from components.sources.source import FirstFrames, Slice
from pipeline.prepare import rejections, workers
from pipeline.prepare.messages import (
    MergeTask,
    QuarantineReport,
    QuarantineTask,
    ReadReport,
    ReadTask,
    ShardFormat,
    WriteReport,
    WriteTask,
)
from tests.pipeline.prepare.listed_source import (
    SHAPE,
    ListedSource,
    create_work_directory,
    examples,
    load_reports,
    plan_runs,
    read_all,
    tally_of,
)

FORM = ShardFormat(SHAPE, num_classes=3, ranges=1)


def runs_of(reports: list[ReadReport]) -> tuple[SortedRun, ...]:
    return tuple(run for report in reports for run in report.runs if run.shape == SHAPE)


def shard_task(runs: Sequence[SortedRun], directory: Path, **fields) -> WriteTask:
    """The task of writing all examples of train to one shard."""
    plan_runs(runs, directory)
    task = WriteTask("train", "train", "shard", 0, NUM_HASHES, 60)
    return dataclasses.replace(task, **fields)


def write_shards(
    reports: list[ReadReport], directory: Path, *, shard_bytes: int = 2000, **settings
) -> dict[str, bytes]:
    """Plans and writes the shards; returns their bytes by name."""
    settings = {"fraction": 0.2, **settings}
    plan = plan_runs(runs_of(reports), directory, shard_bytes=shard_bytes, **settings)
    (directory / "out").mkdir()
    for task in plan.tasks:
        workers.write(task, FORM, directory, directory / "out")
    return {path.name: path.read_bytes() for path in sorted((directory / "out").iterdir())}


def read_shards(shards: dict[str, bytes], directory: Path) -> ExampleBatch:
    return ExampleBatch.concatenate(
        batch for name in shards for batch in codec.read_batches(directory / "out" / name, SHAPE)
    )


def test_every_example_is_written_once_and_unchanged(tmp_path):
    items = {"train": examples(700), "test": examples(90, split="test", seed=1)}
    shards = write_shards(read_all(ListedSource(items), tmp_path), tmp_path)
    assert {name.split(".")[0] for name in shards} == {"cats-train", "cats-validation", "cats-test"}
    batch = read_shards(shards, tmp_path)
    known = {item[0]: item for item in items["train"] + items["test"]}
    assert len(batch) == len(known) == 790
    for example_id, image, label in zip(batch.ids, batch.images, batch.labels, strict=True):
        _, expected, expected_label = known.pop(example_id)
        np.testing.assert_array_equal(image, expected)
        assert label == expected_label


def test_shards_are_sorted_by_hash(tmp_path):
    shards = write_shards(read_all(ListedSource({"train": examples(700)}), tmp_path), tmp_path)
    last = -1
    for name in [name for name in shards if "train" in name]:
        for batch in codec.read_batches(tmp_path / "out" / name, SHAPE):
            hashes = hash_ids(batch.ids).tolist()
            assert hashes == sorted(hashes)
            assert hashes[0] > last
            last = hashes[-1]


def test_shards_do_not_depend_on_the_slices_and_buffer_sizes(tmp_path, monkeypatch):
    duplicated = examples(20, split="copy", seed=7)
    copies = [(f"again-{item[0]}", *item[1:]) for item in duplicated]
    items = {"train": [*examples(200), *duplicated, *copies]}
    results = []
    for number, (per_slice, per_batch, run_bytes, merged_bytes, rows) in enumerate(
        [
            (1000, 1000, 1 << 20, 1 << 20, 1024),
            (100, 30, 1 << 20, 1 << 20, 1024),
            (7, 3, 1 << 20, 500, 5),
            (240, 1, 1000, 300, 1),
        ]
    ):
        monkeypatch.setattr(workers, "_RUN_BYTES", run_bytes)
        monkeypatch.setattr(sorted_runs, "_MERGED_BYTES", merged_bytes)
        monkeypatch.setattr(workers, "_ENCODED_BYTES", rows * 30)
        directory = tmp_path / str(number)
        reports = read_all(ListedSource(items, per_slice, per_batch), directory)
        if run_bytes == 1000:
            assert len(reports) == 1
            assert len(reports[0].runs) > 5
        results.append(write_shards(reports, directory, drop_duplicates=True))
    assert len(results[0]) > 3
    assert results[0] == results[1] == results[2] == results[3]
    assert len(read_shards(results[0], tmp_path / "0")) == 220


def test_a_retried_task_writes_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_RUN_BYTES", 1000)
    wide = examples(3, split="wide", shape=(2, 2, 1), seed=2)
    bad = Rejected("bad", "train", None, Reason.EMPTY, "no bytes")
    source = ListedSource({"train": [*examples(150), *wide, bad]}, per_slice=200)
    reports = read_all(source, tmp_path)
    plan = plan_runs(runs_of(reports), tmp_path, shard_bytes=1000)
    others = [run for report in reports for run in report.runs if run.shape != SHAPE]
    tasks = [*plan.tasks, QuarantineTask(0, "train", others)]
    snapshots = []
    for _ in range(2):
        for report in tmp_path.rglob("*.json"):
            report.unlink()  # Otherwise the task is done.
        workers.read_slice(ReadTask(0, 0, source.slices()[0]), [source], tmp_path)
        counts = [workers.write(task, FORM, tmp_path, tmp_path) for task in tasks]
        paths = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
        snapshots.append((counts, {path.name: path.read_bytes() for path in paths}))
    assert snapshots[0] == snapshots[1]
    assert len(snapshots[0][1]) > 10


class Unreadable(ListedSource):
    """A source that must not be read again."""

    def read(self, part):
        raise AssertionError("read again")


def test_a_task_whose_report_exists_returns_at_once(tmp_path):
    items = {"train": [*examples(60), Rejected("bad", "train", 0, Reason.EMPTY, "no bytes")]}
    (report,) = read_all(ListedSource(items), tmp_path)
    source = Unreadable(items)
    again = workers.read_slice(ReadTask(0, 0, source.slices()[0]), [source], tmp_path)
    assert again == {"read": 61}
    task = shard_task(runs_of([report]), tmp_path)
    quarantine = QuarantineTask(0, "train", [])
    counts = [workers.write(each, FORM, tmp_path, tmp_path) for each in (task, quarantine)]
    # Without its run, nothing could be written again.
    (tmp_path / report.runs[0].file).unlink()
    assert [workers.write(each, FORM, tmp_path, tmp_path) for each in (task, quarantine)] == counts


@pytest.mark.parametrize("damage", ["report", "run", "image", "label", "no run", "list"])
def test_a_slice_whose_runs_a_failure_of_the_machine_has_damaged_is_read_again(tmp_path, damage):
    bad = Rejected("bad", "train", 0, Reason.EMPTY, "no bytes")
    source = ListedSource({"train": [*examples(60), bad]})
    (report,) = read_all(source, tmp_path)
    path = tmp_path / report.runs[0].file
    expected = path.read_bytes()
    if damage == "report":
        (tmp_path / workers.READ / "000000.json").write_bytes(b"")
    if damage == "run":
        path.write_bytes(expected[:1000])
    if damage in ("image", "label"):
        # A block: the keys, which begin with the hash, the digest and the label; the ids; images.
        changed = bytearray(expected)
        changed[{"label": 24, "image": -100 - 2 * 32}[damage]] ^= 1
        path.write_bytes(changed)
    if damage == "no run":
        path.unlink()
    if damage == "list":
        (tmp_path / "000000-rejected.jsonl").write_bytes(b"")
    task = ReadTask(0, 0, source.slices()[0])
    assert workers.read_slice(task, [source], tmp_path) == {"read": 61}
    assert path.read_bytes() == expected
    assert list(rejections.rejected_inputs(0, tmp_path)) == [bad]
    # Runs that were merged are no longer there, which is no damage.
    path.unlink()
    (tmp_path / workers.MERGED / "1").mkdir()
    unreadable = Unreadable(source.items)
    assert workers.read_slice(task, [unreadable], tmp_path) == {"read": 61}


@pytest.mark.parametrize("damage", ["report", "shard", "no shard"])
def test_what_a_failure_of_the_machine_has_damaged_is_written_again(tmp_path, damage):
    reports = read_all(ListedSource({"train": examples(60)}), tmp_path)
    task = shard_task(runs_of(reports), tmp_path)
    workers.write(task, FORM, tmp_path, tmp_path)
    expected = (tmp_path / "shard").read_bytes()
    if damage == "report":
        (tmp_path / workers.WRITTEN / "shard.json").write_bytes(b"")
    if damage == "shard":
        (tmp_path / "shard").write_bytes(bytes(len(expected)))
    if damage == "no shard":
        (tmp_path / "shard").unlink()
    workers.write(task, FORM, tmp_path, tmp_path)
    assert (tmp_path / "shard").read_bytes() == expected
    (report,) = load_reports(tmp_path / workers.WRITTEN, WriteReport)
    assert report.kept.total == 60


def test_merged_runs_hold_the_same_examples_and_replace_their_parts(tmp_path):
    source = ListedSource({"train": examples(300)}, per_slice=40)
    runs = runs_of(read_all(source, tmp_path))
    before = list(sorted_runs.merged(runs, tmp_path))
    (tmp_path / workers.MERGED / "1").mkdir()
    tasks = [MergeTask(1, runs[:5]), MergeTask(1, runs[5:])]
    for task in (*tasks, tasks[0]):  # A runner may repeat a task that is done.
        assert workers.merge(task, tmp_path) == {}
    merged = [task.merged for task in tasks]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("0")) == sorted(
        [*(run.file for run in merged), *(f"{n:06d}-rejected.jsonl" for n in range(8))]
    )
    after = list(sorted_runs.merged(merged, tmp_path))
    for one, other in zip(before, after, strict=True):
        assert one.examples.ids == other.examples.ids
        np.testing.assert_array_equal(one.hashes, other.hashes)
        np.testing.assert_array_equal(one.digests, other.digests)
        np.testing.assert_array_equal(one.examples.images, other.examples.images)
        np.testing.assert_array_equal(one.examples.labels, other.examples.labels)


def test_a_merge_whose_report_was_lost_is_not_done_again_without_its_parts(tmp_path):
    source = ListedSource({"train": examples(80)}, per_slice=40)
    (tmp_path / workers.MERGED).mkdir(parents=True)
    task = MergeTask(1, runs_of(read_all(source, tmp_path)))
    (tmp_path / workers.MERGED / "1").mkdir()
    workers.merge(task, tmp_path)
    path = tmp_path / task.merged.file
    report = tmp_path / f"{workers.MERGED}/1/{task.merged.file}.json"
    content, expected = report.read_bytes(), path.read_bytes()
    report.write_bytes(b"")
    workers.merge(task, tmp_path)
    assert (report.read_bytes(), path.read_bytes()) == (content, expected)
    # If the run is damaged too, nothing is left to merge.
    path.write_bytes(expected[:-100])
    with pytest.raises(WorkError, match=r"is missing or damaged: .*; remove the directory"):
        workers.merge(task, tmp_path)
    # The next level removes the runs that it has merged.
    path.unlink()
    (tmp_path / workers.MERGED / "2").mkdir()
    workers.merge(task, tmp_path)


def test_tasks_return_counters(tmp_path):
    bad = [Rejected(f"bad-{n}", "train", n, Reason.EMPTY, "no bytes") for n in range(2)]
    source = ListedSource({"train": [*examples(60), *bad]}, per_slice=40)
    create_work_directory(tmp_path)
    counts = [
        workers.read_slice(ReadTask(number, 0, part), [source], tmp_path)
        for number, part in enumerate(source.slices())
    ]
    assert counts == [{"read": 40}, {"read": 22}]
    runs = runs_of(load_reports(tmp_path / workers.READ, ReadReport))
    task = shard_task(runs, tmp_path)
    assert workers.write(task, FORM, tmp_path, tmp_path) == {"kept": 60, "bytes": 60 * 30}
    quarantine = QuarantineTask(1, "train", [])
    assert workers.write(quarantine, FORM, tmp_path, tmp_path) == {}


def test_the_report_of_a_slice_accounts_for_every_input(tmp_path):
    wide = examples(4, split="wide", shape=(2, 9, 3), seed=2)
    bad = Rejected("bad", "train", None, Reason.UNDECODABLE, "damaged PNG")
    items = [*examples(10), bad, *wide[:2], *examples(5, split="more"), *wide[2:]]
    (report,) = read_all(ListedSource({"train": items}), tmp_path)
    assert (report.number, report.split) == (0, "train")
    assert report.inputs == tally_of(items)
    assert report.rejected == tally_of([bad], Reason.UNDECODABLE)
    assert [(run.shape, run.rows, run.split, run.slice) for run in report.runs] == [
        (SHAPE, 15, "train", 0),
        ((2, 9, 3), 4, "train", 0),
    ]
    assert list(rejections.rejected_inputs(0, tmp_path)) == [bad]


def test_a_slice_without_inputs_has_an_empty_report(tmp_path):
    create_work_directory(tmp_path)
    source = ListedSource({"train": []})
    task = ReadTask(3, 0, Slice("train", "listed", 0, 0))
    assert workers.read_slice(task, [source], tmp_path) == {"read": 0}
    (report,) = load_reports(tmp_path / workers.READ, ReadReport)
    assert report == ReadReport(3, "train", InputTally(), InputTally(), [])


def test_only_the_wanted_ids_of_a_slice_are_read(tmp_path):
    bad = [Rejected(f"bad-{n}", "train", 0, Reason.EMPTY, "no bytes") for n in range(3)]
    items = [*examples(40), *bad]
    source = ListedSource({"train": items})
    wanted = frozenset({"train-00000003", "train-00000035", "bad-1", "elsewhere"})
    create_work_directory(tmp_path)
    task = ReadTask(0, 1, source.slices()[0], wanted)
    assert task.max_inputs == 4
    assert workers.read_slice(task, [ListedSource({}), source], tmp_path) == {"read": 3}
    (report,) = load_reports(tmp_path / workers.READ, ReadReport)
    assert report.inputs == tally_of([items[3], items[35], bad[1]])
    assert list(rejections.rejected_inputs(0, tmp_path)) == [bad[1]]
    (run,) = report.runs
    ids, _ = sorted_runs.id_and_label_columns(tmp_path / run.file)
    assert set(ids) == {"train-00000003", "train-00000035"}


def test_the_report_of_a_shard_describes_its_examples(tmp_path):
    items = examples(200)
    reports = read_all(ListedSource({"train": items}), tmp_path)
    low, high = NUM_HASHES // 3, NUM_HASHES // 2
    task = shard_task(runs_of(reports), tmp_path, split="validation", low=low, high=high)
    report = workers.write_shard(task, FORM, tmp_path, tmp_path)
    inside = [item for item in items if low <= int(hash_ids([item[0]])[0]) < high]
    assert 10 < len(inside) < 100
    assert report.kept == tally_of(inside)
    expected = Statistics.empty(1, 3)
    expected.add(np.stack([item[1] for item in inside]), np.array([item[2] for item in inside]))
    np.testing.assert_array_equal(report.statistics.histogram, expected.histogram)
    np.testing.assert_array_equal(report.statistics.labels, expected.labels)
    assert report.pixel_bytes == len(inside) * 30
    data = (tmp_path / "shard").read_bytes()
    assert report.output == OutputRecord(len(data), hashlib.sha256(data).hexdigest())
    (loaded,) = load_reports(tmp_path / workers.WRITTEN, WriteReport)
    assert loaded.kept == report.kept
    assert (loaded.split, loaded.source_split, loaded.file) == ("validation", "train", "shard")
    np.testing.assert_array_equal(loaded.statistics.histogram, expected.histogram)


def test_dropped_rows_are_in_no_shard(tmp_path):
    items = examples(50)
    copies = [(f"a-copy-{n}", items[n][1], 0) for n in (0, 9, 49)]
    (report,) = read_all(ListedSource({"train": [*items, *copies]}), tmp_path)
    ids, _ = sorted_runs.id_and_label_columns(tmp_path / report.runs[0].file)
    task = shard_task(report.runs, tmp_path)
    plan_runs(report.runs, tmp_path, drop_duplicates=True)
    workers.write_shard(task, FORM, tmp_path, tmp_path)
    batch = ExampleBatch.concatenate(codec.read_batches(tmp_path / "shard", SHAPE))
    dropped = {f"train-{n:08d}" for n in (0, 9, 49)}
    assert batch.ids == [example_id for example_id in ids if example_id not in dropped]


def test_every_input_is_in_a_shard_or_in_quarantine(tmp_path):
    wide = examples(9, split="wide", shape=(2, 9, 3), seed=2)
    bad = [Rejected(f"bad-{n}", "train", None, Reason.EMPTY, "no bytes") for n in range(5)]
    copies = [(f"copy-{n}", item[1], 1) for n, item in enumerate(examples(6))]
    items = list(itertools.chain(examples(90), wide, bad, copies))
    order = np.random.default_rng(0).permutation(len(items))
    source = ListedSource({"train": [items[n] for n in order]}, per_slice=13, per_batch=4)
    reports = read_all(source, tmp_path)
    plan = plan_runs(
        runs_of(reports), tmp_path, fraction=0.1, shard_bytes=500, drop_duplicates=True
    )
    for task in plan.tasks:
        workers.write(task, FORM, tmp_path, tmp_path)
    for report in reports:
        others = [run for run in report.runs if run.shape != SHAPE]
        quarantine = QuarantineTask(report.number, "train", others)
        workers.write(quarantine, FORM, tmp_path, tmp_path)
    kept = sum(
        (r.kept for r in load_reports(tmp_path / workers.WRITTEN, WriteReport)), InputTally()
    )
    quarantined = sum(
        (r.quarantined for r in load_reports(tmp_path / rejections.QUARANTINED, QuarantineReport)),
        plan.rejected["train"],
    )
    assert (kept.total, quarantined.total) == (90, 20)
    assert quarantined.by_reason == {"wrong_shape": 9, "empty": 5, "duplicate_content": 6}
    total = kept + quarantined
    assert (total.by_label, total.checksum) == (tally_of(items).by_label, tally_of(items).checksum)


def test_a_damaged_source_fails_the_task_without_a_report(tmp_path):
    class Damaged(ListedSource):
        def read(self, part):
            yield from super().read(part)
            raise WorkError("file x is damaged")

    create_work_directory(tmp_path)
    source = Damaged({"train": examples(10)})
    with pytest.raises(WorkError, match=r"^file x is damaged$"):
        workers.read_slice(ReadTask(0, 0, source.slices()[0]), [source], tmp_path)
    assert list((tmp_path / workers.READ).iterdir()) == []


def test_files_with_several_frames_are_counted(tmp_path):
    class Movies(ListedSource):
        def read(self, part):
            for batch in super().read(part):
                yield FirstFrames(batch.ids, batch.images, batch.labels, frozenset(batch.ids[:2]))

    create_work_directory(tmp_path)
    source = Movies({"train": examples(5)})
    task = ReadTask(0, 0, source.slices()[0])
    counters = workers.read_slice(task, [source], tmp_path)
    assert counters == {"read": 5, workers.FIRST_FRAMES: 2}
    ids = frozenset({"train-00000001", "train-00000004"})
    wanted = dataclasses.replace(task, number=1, wanted_ids=ids)
    counters = workers.read_slice(wanted, [source], tmp_path)
    assert counters == {"read": 2, workers.FIRST_FRAMES: 1}

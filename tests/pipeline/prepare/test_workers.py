import dataclasses
import itertools
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from components.base.errors import WorkError
from components.data import codec
from components.data.examples import ExampleBatch, hash_ids
from components.ingest import sorted_runs
from components.ingest.ledger import Account, Reason, Rejected
from components.ingest.statistics import Statistics
from components.sources.source import Slice
from pipeline.prepare import shard_plan, workers
from pipeline.prepare.messages import (
    QuarantineReport,
    QuarantineTask,
    ReadReport,
    ReadTask,
    ShardInputs,
    WriteReport,
    WriteTask,
)

SHAPE = (6, 5, 1)
Item = tuple[str, np.ndarray, int] | Rejected


@dataclasses.dataclass
class ListedFile:
    """A source of the test's own: inputs in a list, cut as it is told.

    Attributes:
      items: by split.
      per_slice: inputs.
      per_block: examples, at most; fewer where the shape changes.
    """

    items: dict[str, list[Item]]
    per_slice: int = 100
    per_block: int = 30

    def slices(self) -> list[Slice]:
        return [
            Slice(split, "listed", first, min(self.per_slice, len(items) - first))
            for split, items in self.items.items()
            for first in range(0, len(items), self.per_slice)
        ]

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        waiting: list[tuple[str, np.ndarray, int]] = []
        for item in [*self.items[part.split][part.first : part.first + part.examples], None]:
            is_end = item is None or isinstance(item, Rejected)
            if waiting and (
                is_end or len(waiting) == self.per_block or item[1].shape != waiting[0][1].shape
            ):
                ids, images, labels = zip(*waiting, strict=True)
                yield ExampleBatch(list(ids), np.stack(images), np.array(labels, np.int64))
                waiting = []
            if isinstance(item, Rejected):
                yield item
            elif item is not None:
                waiting.append(item)


def examples(count: int, *, split: str = "train", shape=SHAPE, seed: int = 0) -> list[Item]:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    return [(f"{split}-{n:08d}", image, n % 3) for n, image in enumerate(images)]


def read_all(source: ListedFile, directory: Path) -> list[ReadReport]:
    """Reads every slice, as a runner would; returns what the workers reported."""
    for name in (workers.READ, workers.WRITTEN, workers.QUARANTINED):
        (directory / name).mkdir(parents=True)
    for number, part in enumerate(source.slices()):
        workers.read_slice(ReadTask(number, 0, part), [source], directory)
    return reports_in(directory / workers.READ, ReadReport)


def reports_in(directory: Path, kind) -> list:
    return [
        kind.from_json(json.loads(path.read_text())) for path in sorted(directory.glob("*.json"))
    ]


def material_of(reports: list[ReadReport], dropped=None, shape=SHAPE) -> ShardInputs:
    members = [run for report in reports for run in report.runs if run.shape == shape]
    return ShardInputs(members, dropped or {}, num_classes=3)


def write_shards(
    reports: list[ReadReport], directory: Path, *, shard_bytes: int = 2000, **settings
) -> dict[str, bytes]:
    """Plans and writes the shards; returns their bytes by name."""
    assignment = shard_plan.Assignment(settings.get("fraction", 0.2), shard_bytes)
    layout = shard_plan.plan_shards(
        material_of(reports).runs,
        directory,
        assignment=assignment,
        drop_duplicates=settings.get("drop_duplicates", False),
        dataset="cats",
    )
    material = material_of(reports, layout.dropped)
    (directory / "out").mkdir()
    for task in layout.tasks:
        workers.write(task, material, directory, directory / "out")
    return {path.name: path.read_bytes() for path in sorted((directory / "out").iterdir())}


def everything(shards: dict[str, bytes], directory: Path) -> ExampleBatch:
    return ExampleBatch.concatenate(
        block for name in shards for block in codec.read_batches(directory / "out" / name, SHAPE)
    )


def test_every_example_is_written_once_as_it_was(tmp_path):
    items = {"train": examples(700), "test": examples(90, split="test", seed=1)}
    shards = write_shards(read_all(ListedFile(items), tmp_path), tmp_path)
    assert {name.split(".")[0] for name in shards} == {"cats-train", "cats-validation", "cats-test"}
    block = everything(shards, tmp_path)
    known = {item[0]: item for item in items["train"] + items["test"]}
    assert len(block) == len(known) == 790
    for example_id, image, label in zip(block.ids, block.images, block.labels, strict=True):
        _, wanted, wanted_label = known.pop(example_id)
        np.testing.assert_array_equal(image, wanted)
        assert label == wanted_label


def test_a_shard_is_in_the_order_of_the_hashes(tmp_path):
    shards = write_shards(read_all(ListedFile({"train": examples(700)}), tmp_path), tmp_path)
    last = -1
    for name in [name for name in shards if "train" in name]:
        for block in codec.read_batches(tmp_path / "out" / name, SHAPE):
            hashes = [int(each) for each in hash_ids(block.ids)]
            assert hashes == sorted(hashes)
            assert hashes[0] > last
            last = hashes[-1]


def test_the_shards_do_not_depend_on_how_the_source_was_cut(tmp_path, monkeypatch):
    duplicated = examples(20, split="copy", seed=7)
    copies = [(f"again-{item[0]}", *item[1:]) for item in duplicated]
    items = {"train": [*examples(200), *duplicated, *copies]}
    found = []
    for number, (per_slice, per_block, run_bytes, gathered_bytes, rows) in enumerate(
        [
            (1000, 1000, 1 << 20, 1 << 20, 1024),
            (100, 30, 1 << 20, 1 << 20, 1024),
            (7, 3, 1 << 20, 500, 5),
            (240, 1, 1000, 300, 1),
        ]
    ):
        monkeypatch.setattr(workers, "_RUN_BYTES", run_bytes)
        monkeypatch.setattr(workers, "_GATHERED_BYTES", gathered_bytes)
        monkeypatch.setattr(workers, "_WRITTEN_BYTES", rows * 30)
        directory = tmp_path / str(number)
        reports = read_all(ListedFile(items, per_slice, per_block), directory)
        if run_bytes == 1000:
            assert len(reports) == 1
            assert len(reports[0].runs) > 5
        found.append(write_shards(reports, directory, drop_duplicates=True))
    assert len(found[0]) > 3
    assert found[0] == found[1] == found[2] == found[3]
    assert len(everything(found[0], tmp_path / "0")) == 220


def test_a_task_that_is_tried_again_leaves_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_RUN_BYTES", 1000)
    wide = examples(3, split="wide", shape=(2, 2, 1), seed=2)
    bad = Rejected("bad", "train", None, Reason.EMPTY, "no bytes")
    source = ListedFile({"train": [*examples(150), *wide, bad]}, per_slice=200)
    reports = read_all(source, tmp_path)
    layout = shard_plan.plan_shards(
        material_of(reports).runs,
        tmp_path,
        assignment=shard_plan.Assignment(0.0, 1000),
        drop_duplicates=False,
        dataset="cats",
    )
    others = [run for report in reports for run in report.runs if run.shape != SHAPE]
    tasks = [*layout.tasks, QuarantineTask(0, "train", others, [])]
    snapshots = []
    for _ in range(2):
        workers.read_slice(ReadTask(0, 0, source.slices()[0]), [source], tmp_path)
        counts = [workers.write(task, material_of(reports), tmp_path, tmp_path) for task in tasks]
        paths = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
        snapshots.append((counts, {path.name: path.read_bytes() for path in paths}))
    assert snapshots[0] == snapshots[1]
    assert len(snapshots[0][1]) > 10


def test_what_is_counted_is_what_was_done(tmp_path):
    bad = [Rejected(f"bad-{n}", "train", n, Reason.EMPTY, "no bytes") for n in range(2)]
    source = ListedFile({"train": [*examples(60), *bad]}, per_slice=40)
    (tmp_path / workers.READ).mkdir()
    (tmp_path / workers.WRITTEN).mkdir()
    (tmp_path / workers.QUARANTINED).mkdir()
    counts = [
        workers.read_slice(ReadTask(number, 0, part), [source], tmp_path)
        for number, part in enumerate(source.slices())
    ]
    assert counts == [{"read": 40}, {"read": 22}]
    material = material_of(reports_in(tmp_path / workers.READ, ReadReport))
    task = WriteTask("train", "train", "shard", 0, sorted_runs.HASHES, 60)
    assert workers.write(task, material, tmp_path, tmp_path) == {"kept": 60, "bytes": 60 * 30}
    quarantine = QuarantineTask(1, "train", [], [])
    assert workers.write(quarantine, material, tmp_path, tmp_path) == {"quarantined_empty": 2}


def account(items: list[Item], reason: Reason | None = None) -> Account:
    counted = Account()
    ids = [item.id if isinstance(item, Rejected) else item[0] for item in items]
    labels = [item.label if isinstance(item, Rejected) else item[2] for item in items]
    counted.add(hash_ids(ids), labels, reason=reason)
    return counted


def test_a_slice_reports_all_it_held(tmp_path):
    wide = examples(4, split="wide", shape=(2, 9, 3), seed=2)
    bad = Rejected("bad", "train", None, Reason.UNDECODABLE, "damaged PNG")
    items = [*examples(10), bad, *wide[:2], *examples(5, split="more"), *wide[2:]]
    (report,) = read_all(ListedFile({"train": items}), tmp_path)
    assert (report.number, report.split) == (0, "train")
    assert report.inputs == account(items)
    assert report.rejected == account([bad], Reason.UNDECODABLE)
    assert [(run.shape, run.rows, run.split, run.slice) for run in report.runs] == [
        (SHAPE, 15, "train", 0),
        ((2, 9, 3), 4, "train", 0),
    ]
    assert list(workers.rejected(0, tmp_path)) == [bad]


def test_a_slice_without_inputs_reports_that(tmp_path):
    (tmp_path / workers.READ).mkdir()
    source = ListedFile({"train": []})
    task = ReadTask(3, 0, Slice("train", "listed", 0, 0))
    assert workers.read_slice(task, [source], tmp_path) == {"read": 0}
    (report,) = reports_in(tmp_path / workers.READ, ReadReport)
    assert report == ReadReport(3, "train", Account(), Account(), [])


def test_of_a_slice_only_what_is_wanted_is_read(tmp_path):
    bad = [Rejected(f"bad-{n}", "train", 0, Reason.EMPTY, "no bytes") for n in range(3)]
    items = [*examples(40), *bad]
    source = ListedFile({"train": items})
    only = frozenset({"train-00000003", "train-00000035", "bad-1", "elsewhere"})
    (tmp_path / workers.READ).mkdir()
    task = ReadTask(0, 1, source.slices()[0], only)
    assert task.num_inputs == 4
    assert workers.read_slice(task, [ListedFile({}), source], tmp_path) == {"read": 3}
    (report,) = reports_in(tmp_path / workers.READ, ReadReport)
    assert report.inputs == account([items[3], items[35], bad[1]])
    assert list(workers.rejected(0, tmp_path)) == [bad[1]]
    (run,) = report.runs
    ids, _ = sorted_runs.id_and_label_columns(tmp_path / run.file)
    assert set(ids) == {"train-00000003", "train-00000035"}


def test_a_shard_reports_what_it_holds(tmp_path):
    items = examples(200)
    reports = read_all(ListedFile({"train": items}), tmp_path)
    material = material_of(reports)
    task = WriteTask(
        "validation", "train", "shard", sorted_runs.HASHES // 3, sorted_runs.HASHES // 2, 33
    )
    report = workers.write_shard(task, material, tmp_path, tmp_path)
    inside = [
        item
        for item in items
        if sorted_runs.HASHES // 3 <= int(hash_ids([item[0]])[0]) < sorted_runs.HASHES // 2
    ]
    assert 10 < len(inside) < 100
    assert report.kept == account(inside)
    expected = Statistics.empty(1, 3)
    expected.add(np.stack([item[1] for item in inside]), np.array([item[2] for item in inside]))
    np.testing.assert_array_equal(report.statistics.histogram, expected.histogram)
    np.testing.assert_array_equal(report.statistics.labels, expected.labels)
    assert report.num_bytes == len(inside) * 30
    (again,) = reports_in(tmp_path / workers.WRITTEN, WriteReport)
    assert again.kept == report.kept
    assert (again.split, again.source_split, again.file) == ("validation", "train", "shard")
    np.testing.assert_array_equal(again.statistics.histogram, expected.histogram)


def test_dropped_rows_are_in_no_shard(tmp_path):
    reports = read_all(ListedFile({"train": examples(50)}), tmp_path)
    (run,) = reports[0].runs
    ids, _ = sorted_runs.id_and_label_columns(tmp_path / run.file)
    material = material_of(reports, {run.file: frozenset({0, 9, 49})})
    task = WriteTask("train", "train", "shard", 0, sorted_runs.HASHES, 47)
    workers.write_shard(task, material, tmp_path, tmp_path)
    block = ExampleBatch.concatenate(codec.read_batches(tmp_path / "shard", SHAPE))
    assert block.ids == [each for row, each in enumerate(ids) if row not in (0, 9, 49)]


def test_the_quarantine_lists_each_input_with_its_reason(tmp_path):
    wide = examples(2, split="wide", shape=(2, 9, 3), seed=2)
    bad = Rejected("schlecht-ä\n", "train", None, Reason.UNDECODABLE, "damaged PNG")
    reports = read_all(ListedFile({"train": [*examples(10), bad, *wide]}), tmp_path)
    others = [run for run in reports[0].runs if run.shape != SHAPE]
    twin = Rejected("train-00000003", "train", 0, Reason.DUPLICATE_CONTENT, "the same pixels as x")
    task = QuarantineTask(0, "train", others, [twin])
    report = workers.set_aside(task, material_of(reports), tmp_path)
    rows = list(workers.read_lines(tmp_path / workers.QUARANTINED / "000000.jsonl"))
    assert {row["id"]: (row["label"], row["reason"], row["detail"]) for row in rows} == {
        "schlecht-ä\n": (None, "undecodable", "damaged PNG"),
        "wide-00000000": (0, "wrong_shape", "2x9x3, most others are 6x5x1"),
        "wide-00000001": (1, "wrong_shape", "2x9x3, most others are 6x5x1"),
        "train-00000003": (0, "duplicate_content", "the same pixels as x"),
    }
    assert {row["split"] for row in rows} == {"train"}
    assert report.quarantined == (
        account([bad], Reason.UNDECODABLE)
        + account(wide, Reason.WRONG_SHAPE)
        + account([("train-00000003", None, 0)], Reason.DUPLICATE_CONTENT)
    )
    assert reports_in(tmp_path / workers.QUARANTINED, QuarantineReport) == [report]


def test_all_inputs_are_in_a_shard_or_in_quarantine(tmp_path):
    wide = examples(9, split="wide", shape=(2, 9, 3), seed=2)
    bad = [Rejected(f"bad-{n}", "train", None, Reason.EMPTY, "no bytes") for n in range(5)]
    twins = [(f"twin-{n}", item[1], 1) for n, item in enumerate(examples(6))]
    items = list(itertools.chain(examples(90), wide, bad, twins))
    order = np.random.default_rng(0).permutation(len(items))
    source = ListedFile({"train": [items[place] for place in order]}, per_slice=13, per_block=4)
    reports = read_all(source, tmp_path)
    layout = shard_plan.plan_shards(
        material_of(reports).runs,
        tmp_path,
        assignment=shard_plan.Assignment(0.1, 500),
        drop_duplicates=True,
        dataset="cats",
    )
    material = material_of(reports, layout.dropped)
    for task in layout.tasks:
        workers.write(task, material, tmp_path, tmp_path)
    for report in reports:
        others = [run for run in report.runs if run.shape != SHAPE]
        twins = [item for number, item in layout.rejected if number == report.number]
        quarantine = QuarantineTask(report.number, "train", others, twins)
        workers.write(quarantine, material, tmp_path, tmp_path)
    kept = sum((r.kept for r in reports_in(tmp_path / workers.WRITTEN, WriteReport)), Account())
    quarantined = sum(
        (r.quarantined for r in reports_in(tmp_path / workers.QUARANTINED, QuarantineReport)),
        Account(),
    )
    assert (kept.total, quarantined.total) == (90, 20)
    assert quarantined.by_reason == {"wrong_shape": 9, "empty": 5, "duplicate_content": 6}
    both = kept + quarantined
    assert (both.by_label, both.checksum) == (account(items).by_label, account(items).checksum)


def test_a_damaged_source_ends_the_task_without_a_report(tmp_path):
    class Damaged(ListedFile):
        def read(self, part):
            yield from super().read(part)
            raise WorkError("file x is damaged")

    (tmp_path / workers.READ).mkdir()
    source = Damaged({"train": examples(10)})
    with pytest.raises(WorkError, match=r"^file x is damaged$"):
        workers.read_slice(ReadTask(0, 0, source.slices()[0]), [source], tmp_path)
    assert list((tmp_path / workers.READ).iterdir()) == []


def test_tasks_and_material_go_to_other_processes(tmp_path):
    reports = read_all(ListedFile({"train": examples(5)}), tmp_path)
    material = material_of(reports, {"000000-000": frozenset({1})})
    part = Slice("train", "listed", 0, 5)
    for value in (
        material,
        ReadTask(0, 0, part, frozenset({"a"})),
        WriteTask("train", "train", "shard", 0, sorted_runs.HASHES, 4),
        QuarantineTask(0, "train", [], []),
    ):
        assert pickle.loads(pickle.dumps(value)) == value


def test_lines_come_back_as_they_were_written(tmp_path):
    rows = [{"b": 1, "a": "ä\n\u2028\r"}, [], None, "日本"]
    workers.write_lines(tmp_path / "lines", iter(rows))
    assert list(workers.read_lines(tmp_path / "lines")) == rows
    assert (tmp_path / "lines").read_bytes().count(b"\n") == 4
    assert (tmp_path / "lines").read_text("utf-8").endswith('\n"日本"\n')
    workers.write_lines(tmp_path / "lines", [])
    assert (tmp_path / "lines").read_bytes() == b""

import json

from components.base import json_lines
from components.ingest.rejection import Reason, Rejected
from components.ingest.sorted_runs import SortedRun
from pipeline.prepare import quarantine, rejections
from pipeline.prepare.messages import QuarantineReport, QuarantineTask, ReadReport
from tests.pipeline.prepare.listed_source import (
    SHAPE,
    ListedSource,
    create_work_directory,
    examples,
    plan_runs,
    read_all,
    tally_of,
)

BAD = Rejected("bad", "train", None, Reason.EMPTY, "no bytes")


def report(number: int, *shapes, rejected=()) -> ReadReport:
    runs = [SortedRun(f"{n}", number, "train", shape, 5) for n, shape in enumerate(shapes)]
    items = [*examples(5), *rejected]
    return ReadReport(number, "train", tally_of(items), tally_of(list(rejected)), runs)


def test_only_slices_with_inputs_in_quarantine_have_a_task():
    reports = [
        report(0, SHAPE),
        report(1, SHAPE, (9, 9, 1)),
        report(2, SHAPE, rejected=[BAD]),
        report(3, SHAPE),
    ]
    assert list(quarantine.tasks(reports, SHAPE)) == [
        QuarantineTask(1, "train", [reports[1].runs[1]]),
        QuarantineTask(2, "train", []),
    ]


def row(example_id: str, split: str = "train", reason: str = "empty") -> dict[str, str]:
    return {"id": example_id, "split": split, "reason": reason, "detail": ""}


def test_the_list_is_sorted_whatever_the_slices_are(tmp_path):
    rows = [row("b"), row("c", split="test"), row("a", reason="wrong_type"), row("a")]
    contents = []
    for name, lists in {"one": [rows], "two": [rows[2:], [], rows[:2]]}.items():
        create_work_directory(tmp_path / name)
        reports = []
        for number, part in enumerate(lists):
            ordered = sorted(part, key=rejections.order)
            json_lines.write(rejections.quarantine_file(number, tmp_path / name), ordered)
            reports.append(QuarantineReport(number, "train", tally_of([])))
        quarantine.write(reports, 0, tmp_path / name, tmp_path / name)
        contents.append((tmp_path / name / quarantine.QUARANTINE).read_text())
        assert quarantine.read_ids(tmp_path / name) == {"a", "b", "c"}
    assert contents[0] == contents[1]
    assert [json.loads(line) for line in contents[0].splitlines()] == [
        rows[1],
        rows[3],
        rows[2],
        rows[0],
    ]


def test_without_quarantined_inputs_the_list_is_empty(tmp_path):
    quarantine.write([], 0, tmp_path, tmp_path)
    assert (tmp_path / quarantine.QUARANTINE).read_bytes() == b""
    assert quarantine.read_ids(tmp_path) == set()


def test_dropped_duplicates_are_listed(tmp_path):
    items = [*examples(20), ("copy", *examples(1)[0][1:])]
    (report,) = read_all(ListedSource({"train": items}), tmp_path)
    plan = plan_runs(report.runs, tmp_path, drop_duplicates=True)
    quarantine.write([], plan.ranges, tmp_path, tmp_path)
    (listed,) = json_lines.read(tmp_path / quarantine.QUARANTINE)
    assert listed["id"] == "train-00000000"
    assert listed["detail"] == "the same pixels as copy"

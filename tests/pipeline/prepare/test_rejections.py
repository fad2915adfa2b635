from components.base import json_lines
from components.ingest.rejection import Reason, Rejected
from pipeline.prepare import rejections
from pipeline.prepare.messages import QuarantineReport, QuarantineTask
from tests.pipeline.prepare.listed_source import (
    SHAPE,
    ListedSource,
    examples,
    load_reports,
    read_all,
    tally_of,
)


def test_the_quarantine_lists_each_input_with_its_reason(tmp_path):
    wide = examples(2, split="wide", shape=(2, 9, 3), seed=2)
    bad = Rejected("schlecht-ä\n", "train", None, Reason.UNDECODABLE, "damaged PNG")
    reports = read_all(ListedSource({"train": [*examples(10), bad, *wide]}), tmp_path)
    others = [run for run in reports[0].runs if run.shape != SHAPE]
    task = QuarantineTask(0, "train", others)
    report = rejections.write_quarantine(task, SHAPE, tmp_path)
    rows = list(json_lines.read(tmp_path / rejections.QUARANTINED / "000000.jsonl"))
    assert {row["id"]: (row["label"], row["reason"], row["detail"]) for row in rows} == {
        "schlecht-ä\n": (None, "undecodable", "damaged PNG"),
        "wide-00000000": (0, "wrong_shape", "2x9x3, most others are 6x5x1"),
        "wide-00000001": (1, "wrong_shape", "2x9x3, most others are 6x5x1"),
    }
    assert {row["split"] for row in rows} == {"train"}
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert report.quarantined == (
        tally_of([bad], Reason.UNDECODABLE) + tally_of(wide, Reason.WRONG_SHAPE)
    )
    assert load_reports(tmp_path / rejections.QUARANTINED, QuarantineReport) == [report]


def test_a_list_whose_report_exists_is_not_written_again(tmp_path):
    bad = Rejected("bad", "train", None, Reason.UNDECODABLE, "damaged PNG")
    read_all(ListedSource({"train": [*examples(3), bad]}), tmp_path)
    task = QuarantineTask(0, "train", [])
    report = rejections.write_quarantine(task, SHAPE, tmp_path)
    rejections.write_rejected(0, [], tmp_path)
    assert rejections.write_quarantine(task, SHAPE, tmp_path) == report
    assert report.quarantined == tally_of([bad], Reason.UNDECODABLE)


def test_rejected_inputs_are_read_back(tmp_path):
    bad = [Rejected(f"bad-{n}", "train", n, Reason.EMPTY, "ä\n") for n in range(3)]
    rejections.write_rejected(7, bad, tmp_path)
    assert list(rejections.rejected_inputs(7, tmp_path)) == bad

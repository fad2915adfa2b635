import dataclasses
import weakref

import pytest
from etils import epath

from pipeline.prepare import reports


def test_a_report_is_read_back(tmp_path):
    path = epath.Path(tmp_path) / "7.json"
    assert reports.load(path, dict) is None
    reports.write(path, {"rows": 5})
    assert reports.load(path, dict) == {"rows": 5}


@pytest.mark.parametrize("left", [b"", b'{"rows": ', b"\0\0\0\0", b"\xff"])
def test_a_damaged_report_is_none(left, tmp_path):
    path = epath.Path(tmp_path) / "7.json"
    path.write_bytes(left)
    assert reports.load(path, dict) is None


def test_reports_are_in_the_order_of_their_names(tmp_path):
    for number in (3, 1, 2):
        reports.write(epath.Path(tmp_path) / f"{number}.json", {"number": number})
    (tmp_path / "4.json.0.tmp").write_text("unfinished")
    found = reports.load_all(epath.Path(tmp_path), lambda report: report["number"])
    assert found == [1, 2, 3]


@pytest.mark.parametrize("is_remote", [False, True])
def test_reports_are_not_held_while_they_are_read(is_remote, tmp_path, monkeypatch):
    monkeypatch.setattr(reports.files, "is_remote", lambda _: is_remote)
    for number in range(100):
        reports.write(epath.Path(tmp_path) / f"{number:02d}.json", {"number": number})
    alive: weakref.WeakSet[Report] = weakref.WeakSet()

    def from_json(value: dict[str, int]) -> Report:
        report = Report(value["number"])
        alive.add(report)
        return report

    for number, report in enumerate(reports.load_each(epath.Path(tmp_path), from_json)):
        assert report.number == number
        assert len(alive) <= 20


@dataclasses.dataclass(eq=False)
class Report:
    number: int

import dataclasses
import weakref

import pytest
from etils import epath

from components.base.errors import WorkError
from pipeline.prepare import reports


def test_a_report_is_read_back(tmp_path):
    path = epath.Path(tmp_path) / "7.json"
    assert reports.load(path, dict) is None
    reports.write(path, {"rows": 5})
    assert reports.load(path, dict) == {"rows": 5}


LEFT = [b"", b'{"rows": ', b"\0\0\0\0", b"\xff", b"{}\n", b"null\nnull\n", b"{}\n[]\n"]


@pytest.mark.parametrize("left", LEFT)
def test_a_damaged_report_is_none(left, tmp_path):
    path = epath.Path(tmp_path) / "7.json"
    path.write_bytes(left)
    assert reports.load(path, dict) is None
    with pytest.raises(WorkError, match=r"7\.json is damaged; run the same command again"):
        reports.load_all(epath.Path(tmp_path), dict)


def test_a_report_with_a_bit_that_is_flipped_is_none(tmp_path):
    path = epath.Path(tmp_path) / "7.json"
    reports.write(path, {"rows": 5, "name": "ü"})
    data = path.read_bytes()
    for place in range(len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert reports.load(path, dict) is None


def test_a_report_of_a_damaged_file_is_none(tmp_path):
    path, *described = (epath.Path(tmp_path) / name for name in ("7.json", "a", "b"))
    for file in described:
        file.write_bytes(b"content")
    reports.write(path, {"rows": 5}, of=described)
    assert reports.load(path, dict, of=described) == {"rows": 5}
    for damage in (b"Content", b"conten", b""):
        described[1].write_bytes(damage)
        assert reports.load(path, dict, of=described) is None
    described[1].unlink()
    assert reports.load(path, dict, of=described) is None
    # Those who need only the report do not read the files.
    assert reports.load(path, dict) == {"rows": 5}


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

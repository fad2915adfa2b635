import contextlib
import io
import json
import threading

import pytest

from components.base import progress
from components.base.artifacts import atomic_write
from pipeline.beam import report_progress
from pipeline.beam.report_progress import Work
from tests.terminal import Terminal


@pytest.fixture
def terminal():
    return Terminal(columns=80)


def report(directory, name: str, **numbers: int) -> None:
    with atomic_write(directory / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(numbers))


@contextlib.contextmanager
def shown(directory, total: int, stream):
    work = Work(
        label="reading",
        unit="images",
        total=total,
        count=lambda path: json.loads(path.read_text()),
        line=lambda sums: f"read {sums['images']} of {total}, kept {sums['kept']}",
    )
    with (
        contextlib.redirect_stderr(stream),
        report_progress.shown(work, directory, "*.json"),
    ):
        yield


def test_the_bar_advances_with_the_reports_and_ends_full(tmp_path, terminal):
    with shown(tmp_path, 2500, terminal.stream):
        assert terminal.shows(r"reading +0%")
        report(tmp_path, "000000", images=1000, kept=990, quarantined=10)
        assert terminal.shows(r"reading +40%.* kept 990, quarantined 10")
        (tmp_path / "000001.json.0123.tmp").write_text("{")  # half-written
        report(tmp_path, "000001", images=500, kept=500, quarantined=0)
        assert terminal.shows(r"reading +60%.* kept 1,490, quarantined 10")
        report(tmp_path, "000002", images=1000, kept=1000, quarantined=0)
    states = terminal.close()
    assert "reading 100%" in states[-1]
    assert "kept 2,490, quarantined 10" in states[-1]
    assert max(map(len, states)) <= 80


def test_large_numbers_fit_the_terminal(tmp_path, terminal):
    report(tmp_path, "000000", images=14_197_122, kept=14_073_666, quarantined=123_456)
    with shown(tmp_path, 14_197_122, terminal.stream):
        pass
    states = terminal.close()
    assert "kept 14,073,666, quarantined 123,456" in states[-1]
    assert max(map(len, states)) <= 80


def test_every_report_is_counted_once(tmp_path, terminal):
    report(tmp_path, "000000", images=30)
    with shown(tmp_path, 100, terminal.stream):
        for number in range(1, 8):
            report(tmp_path, f"{number:06d}", images=10)
    assert "reading 100%" in terminal.close()[-1]


def test_a_damaged_report_is_counted_when_it_is_written_again(tmp_path):
    (tmp_path / "000000.json").write_text("{}")
    report(tmp_path, "000001", images=10, kept=10)
    log = io.StringIO()
    with shown(tmp_path, 40, log):
        report(tmp_path, "000000", images=30, kept=30)
    assert "read 40 of 40, kept 40" in log.getvalue().splitlines()[-1]


def test_listing_takes_a_small_part_of_the_time_however_many_reports_there_are():
    assert report_progress.pause(0.3, 0.001) == 0.3
    for listing in (0.1, 1.0, 60.0):
        assert listing / (listing + report_progress.pause(0.3, listing)) <= 0.0501


def test_remote_reports_are_read_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(report_progress.files, "is_remote", lambda _: True)
    both = threading.Barrier(2)

    def count(path) -> dict[str, int]:
        both.wait(60)  # Fails unless two reports are read at the same time.
        return {"images": 10}

    for number in range(4):
        report(tmp_path, f"{number:06d}", images=10)
    log = io.StringIO()
    work = Work("reading", "images", 40, count, lambda sums: f"read {sums['images']}")
    with contextlib.redirect_stderr(log), report_progress.shown(work, tmp_path, "*.json"):
        pass
    assert log.getvalue() == "read 40\n"


def test_a_failure_ends_the_bar_where_it_is(tmp_path, terminal):
    threads = threading.active_count()
    report(tmp_path, "000000", images=4)
    with pytest.raises(ZeroDivisionError), shown(tmp_path, 10, terminal.stream):
        threads_within = threading.active_count()
        raise ZeroDivisionError
    assert threading.active_count() < threads_within
    assert threads_within > threads
    assert "reading  40%" in terminal.close()[-1]


def test_a_log_has_one_line_at_the_end(tmp_path):
    log = io.StringIO()
    with shown(tmp_path, 10, log):
        report(tmp_path, "000000", images=10, kept=9)
    assert log.getvalue() == "read 10 of 10, kept 9\n"


def test_a_log_has_no_line_at_the_end_of_a_failure(tmp_path):
    log = io.StringIO()
    with pytest.raises(ZeroDivisionError), shown(tmp_path, 10, log):
        raise ZeroDivisionError
    assert log.getvalue() == ""


def test_a_log_has_a_line_per_interval_of_long_work(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0)
    monkeypatch.setattr(report_progress, "_LOG_SECONDS", 0.01)
    lines, reported = [], threading.Event()

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            lines.append(text)
            if text == "read 4 of 10, kept 4\n":
                reported.set()
            return len(text)

    with shown(tmp_path, 10, Log()):
        report(tmp_path, "000000", images=4, kept=4)
        assert reported.wait(60)
        report(tmp_path, "000001", images=6, kept=6)
    assert lines[-1] == "read 10 of 10, kept 10\n"

import contextlib
import io
import json
import os
import re
import termios
import threading

import pytest

from pipeline.prepare import progress


class Terminal:
    """A pseudo-terminal 120 columns wide, and what was written to it."""

    def __init__(self):
        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, 120))
        self.stream = os.fdopen(slave, "w")
        self._text = b""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # Reading fails once the other end is closed.
        try:
            while data := os.read(self._master, 1024):
                with self._changed:
                    self._text += data
                    self._changed.notify_all()
        except OSError:
            pass

    def shows(self, pattern: str) -> bool:
        """Whether a pattern appears, now or before long."""
        with self._changed:
            return self._changed.wait_for(
                lambda: re.search(pattern, self._text.decode(errors="replace")), timeout=60
            )

    def close(self) -> list[str]:
        """All that was shown, one state of the line after the other."""
        self.stream.close()
        self._reader.join()
        os.close(self._master)
        return [state for state in re.split(r"[\r\n]+", self._text.decode()) if state.strip()]


@pytest.fixture
def terminal():
    return Terminal()


def report(directory, name: str, **counts: int) -> None:
    (directory / f"{name}.json").write_text(json.dumps({"counted": counts}) + "\n")


@contextlib.contextmanager
def shown(directory, total: int, stream):
    with (
        contextlib.redirect_stderr(stream),
        progress.shown(directory, total, "reading", lambda value: value["counted"]),
    ):
        yield


def test_a_log_stays_quiet(tmp_path):
    log = io.StringIO()
    threads = threading.active_count()
    with shown(tmp_path / "not looked at", 10, log):
        assert threading.active_count() == threads
    assert log.getvalue() == ""


def test_the_bar_moves_with_the_reports_and_ends_full(tmp_path, terminal):
    with shown(tmp_path, 2500, terminal.stream):
        assert terminal.shows(r"reading:\s+0%.* 0\.00/2\.50k")
        report(tmp_path, "000000", images=1000, kept=990, quarantined=10)
        assert terminal.shows(r"reading:\s+40%.* 1\.00k/2\.50k .*kept=990, quarantined=10")
        (tmp_path / "000001.json.0123.tmp").write_text("{")  # half-written
        report(tmp_path, "000001", images=500, kept=500, quarantined=0)
        assert terminal.shows(r"reading:\s+60%.* 1\.50k/2\.50k .*kept=1,490, quarantined=10")
        report(tmp_path, "000002", images=1000, kept=1000, quarantined=0)
    last = terminal.close()[-1]
    assert re.search(r"^reading: 100%.* 2\.50k/2\.50k .*kept=2,490, quarantined=10\]", last)


def test_what_was_there_before_or_comes_at_once_is_counted_once(tmp_path, terminal):
    report(tmp_path, "000000", images=30)
    with shown(tmp_path, 100, terminal.stream):
        for number in range(1, 8):
            report(tmp_path, f"{number:06d}", images=10)
    last = terminal.close()[-1]
    assert re.search(r"^reading: 100%.* 100/100 ", last)


def test_a_body_that_fails_ends_the_bar_where_it_stands(tmp_path, terminal):
    threads = threading.active_count()
    report(tmp_path, "000000", images=4)
    with pytest.raises(ZeroDivisionError), shown(tmp_path, 10, terminal.stream):
        threads_within = threading.active_count()
        raise ZeroDivisionError
    assert threading.active_count() < threads_within
    assert threads_within > threads
    assert re.search(r"^reading:\s+40%.* 4\.00/10\.0 ", terminal.close()[-1])

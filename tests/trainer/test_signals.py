import os
import signal
import subprocess
import sys
import threading

import pytest

from components.base.stop_signals import SIGNALS
from tests.conftest import ROOT, module_command
from trainer.signals import deferred_signals


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_a_request_and_a_later_one_has_its_usual_effect(number, capfd):
    handled = []
    times = [10.0, 10.5, 10.9, 11.0]
    original = signal.signal(number, lambda *_: handled.append(number))
    try:
        with deferred_signals(clock=lambda: times.pop(0)) as stop:
            assert (stop.is_pending, stop.signal_name) == (False, None)
            for _ in range(3):  # The same request, sent to the process and to its group.
                signal.raise_signal(number)
                assert (stop.is_pending, stop.signal_name) == (True, number.name)
            assert handled == []
            assert capfd.readouterr().err.count("again to stop at once\n") == 1
            signal.raise_signal(number)
            assert handled == [number]
            signal.raise_signal(number)
            assert handled == [number] * 2
        signal.raise_signal(number)
        assert handled == [number] * 3  # The original handler is restored.
    finally:
        signal.signal(number, original)


def test_an_ignored_hangup_stays_ignored(capfd):
    original = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with deferred_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.is_pending
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, original)
    assert capfd.readouterr().err == ""


def test_in_another_thread_signals_keep_their_effect():
    handlers = []

    def work() -> None:
        with deferred_signals() as stop:
            handlers.extend(map(signal.getsignal, SIGNALS))
            assert not stop.is_pending

    before = list(map(signal.getsignal, SIGNALS))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == before


PROGRAM = """
import itertools, signal, sys
from components.base import command_line, errors
from trainer.signals import deferred_signals

def main():
    with deferred_signals(clock=itertools.count().__next__) as stop:
        {body}
        raise errors.Stopped("saved")

command_line.run(main)
"""


def run(body: str, **kwargs) -> subprocess.CompletedProcess:
    """Runs a command in a separate process, with its body in `deferred_signals`."""
    program = PROGRAM.format(body=body)
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, **kwargs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_command_at_once(number):
    twice = f"signal.raise_signal({number:d}); signal.raise_signal({number:d})"
    done = run(twice, stderr=subprocess.PIPE, text=True)
    requested, stopped = done.stderr.splitlines()
    assert done.returncode == 75
    assert requested.startswith(f"{number.name}: finishing the current steps and saving")
    assert stopped.startswith(f"{number.name}: stopped; nothing unfinished was published")


def test_work_is_saved_if_standard_error_is_closed(tmp_path):
    """For example because the process that the log was piped to is gone."""
    reader, stderr = os.pipe()
    os.close(reader)
    saved = tmp_path / "saved"
    run(
        f"signal.raise_signal(signal.SIGTERM); open('{saved}', 'w').write(stop.signal_name)",
        stderr=stderr,
    )
    os.close(stderr)
    assert saved.read_text() == "SIGTERM"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_step_ends_the_command(number, examples_dir, tmp_path):
    """While TensorFlow is being imported, there is nothing to save."""
    arguments = ("--examples", examples_dir, "--output", tmp_path / "model")
    process = subprocess.Popen(
        module_command("trainer", *arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline().startswith("train: preset mlp on ")
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == 75
    assert stderr.startswith(f"{number.name}: stopped; nothing unfinished was published")
    assert stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []

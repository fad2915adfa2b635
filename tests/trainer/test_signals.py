import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT, command
from trainer.signals import deferred_stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_the_second_acts(number, capfd):
    acted = []
    before = signal.signal(number, lambda *_: acted.append(number))
    try:
        with deferred_stop() as stop:
            assert stop.name is None
            signal.raise_signal(number)
            assert (stop.name, acted) == (number.name, [])
            assert "again to stop at once" in capfd.readouterr().err
            signal.raise_signal(number)
            assert acted == [number]
        signal.raise_signal(number)
        assert acted == [number] * 2  # The handler of before stands again.
    finally:
        signal.signal(number, before)


PROGRAM = """
import signal, sys
from components.base import command_line, errors
from trainer.signals import deferred_stop

def main():
    with deferred_stop() as stop:
        {body}
        raise errors.Stopped("saved")

command_line.run(main)
"""


def run(body: str, **kwargs) -> subprocess.CompletedProcess:
    """A command whose body stands in `deferred_stop`, in a process of its own."""
    program = PROGRAM.format(body=body)
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, **kwargs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_command_at_once(number):
    twice = f"signal.raise_signal({number:d}); signal.raise_signal({number:d})"
    done = run(twice, stderr=subprocess.PIPE, text=True)
    asked, stopped = done.stderr.splitlines()
    assert done.returncode == 75
    assert asked.startswith(f"{number.name}: saving after the steps that run now")
    assert stopped.startswith(f"{number.name}: stopped; nothing unfinished was published")


def test_work_is_saved_though_nobody_reads_what_is_said(tmp_path):
    """The process that a log was piped to is gone."""
    unread, stderr = os.pipe()
    os.close(unread)
    saved = tmp_path / "saved"
    run(
        f"signal.raise_signal(signal.SIGTERM); open('{saved}', 'w').write(stop.name)", stderr=stderr
    )
    os.close(stderr)
    assert saved.read_text() == "SIGTERM"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_step_ends_the_command(number, examples_dir, tmp_path):
    """While TensorFlow is imported there is nothing to save yet, and nobody to ask."""
    arguments = ("--examples", examples_dir, "--output", tmp_path / "model")
    process = subprocess.Popen(
        command("trainer", *arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline().startswith("train: preset mlp on ")
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 75
    assert said.startswith(f"{number.name}: stopped; nothing unfinished was published")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []

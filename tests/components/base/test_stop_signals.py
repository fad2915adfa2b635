import signal
import subprocess
import sys

import pytest

from components.base import stop_signals
from tests.conftest import ROOT

_START = "import os, signal, sys, threading, time\nfrom components.base import stop_signals\n"
NUMBERS = pytest.mark.parametrize("number", stop_signals.SIGNALS)


def run(program: str, **kwargs) -> subprocess.CompletedProcess:
    """Runs a program that has not ignored any signal at its start."""
    return subprocess.run(
        [sys.executable, "-c", _START + program], cwd=ROOT, capture_output=True, text=True, **kwargs
    )


def assert_stopped(done: subprocess.CompletedProcess, number: signal.Signals) -> None:
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == (
        f"{number.name}: stopped; nothing unfinished was published; run the same command again\n"
    )


@NUMBERS
def test_a_signal_ends_the_process_where_it_is(number):
    program = "stop_signals.end_at_once()\ntry: signal.raise_signal({})\nfinally: print('cleared')"
    assert_stopped(run(program.format(number.value)), number)


@NUMBERS
def test_a_signal_interrupts_the_code_and_later_ones_do_not(number):
    program = f"""
stop_signals.interrupt()
assert not stop_signals.is_stopping()
try:
    signal.raise_signal({number.value})
except KeyboardInterrupt as interrupt:
    for number in stop_signals.SIGNALS:
        signal.raise_signal(number)
    assert stop_signals.is_stopping()
    print(interrupt)
    print("nobody sees this", file=sys.stderr)
    os.system("echo nor this >&2")
"""
    done = run(program)
    assert (done.returncode, done.stdout) == (0, f"{number.name}\n")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"{number.name}: stopped; ")


def test_a_lost_interruption_still_ends_the_process():
    """Python only prints an exception in a destructor, and goes on."""
    program = f"""
stop_signals._SECONDS_TO_CLEAR_UP = 0
stop_signals.interrupt()
class Lost:
    def __del__(self):
        signal.raise_signal({signal.SIGINT.value})
Lost()
while True:
    time.sleep(60)
"""
    assert_stopped(run(program), signal.SIGINT)


@NUMBERS
def test_a_deferred_signal_takes_effect_at_the_end(number):
    program = f"""
stop_signals.interrupt()
try:
    with stop_signals.deferred():
        signal.raise_signal({number.value})
        print("done")
    print("never")
except KeyboardInterrupt as interrupt:
    print(interrupt)
"""
    done = run(program)
    assert (done.returncode, done.stdout) == (0, f"done\n{number.name}\n")
    assert done.stderr.startswith(f"{number.name}: stopped; ")


def test_handlers_are_not_changed_in_other_threads():
    program = """
def enter():
    with stop_signals.deferred():
        print("entered", flush=True)
thread = threading.Thread(target=enter)
thread.start()
thread.join()
"""
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "entered\n", "")


@NUMBERS
def test_ignored_signals_have_no_effect(number):
    done = run(f"stop_signals.ignore(); signal.raise_signal({number.value}); print('on')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")


@pytest.mark.parametrize("install", ["end_at_once", "interrupt"])
def test_a_hangup_that_nohup_ignores_stays_ignored(install):
    program = f"""
signal.signal(signal.SIGHUP, signal.SIG_IGN)
stop_signals.{install}()
signal.raise_signal(signal.SIGHUP)
print(*map(int, stop_signals.handled()))
"""
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 15\n", "")

import multiprocessing
import signal
import subprocess
import sys

from components.base import child_processes
from components.base.stop_signals import SIGNALS
from tests.conftest import ROOT

# The child writes to the standard output, which it inherits, and then waits for ever.
_SCRIPT = """
import multiprocessing, os, signal
from components.base import child_processes

def child():
    child_processes.end_with_parent()
    os.write(1, b"ready\\n")
    signal.pause()

multiprocessing.get_context("fork").Process(target=child).start()
signal.pause()
"""


def report_blocked_signals(connection) -> None:
    connection.send(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def test_children_have_the_stop_signals_blocked_and_this_process_has_not():
    context = multiprocessing.get_context("spawn")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    receiver, sender = context.Pipe()
    process = context.Process(target=report_blocked_signals, args=(sender,))
    with child_processes.without_signals():
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) >= set(SIGNALS)
        process.start()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    assert receiver.recv() >= set(SIGNALS)
    process.join()


def test_the_first_child_has_them_blocked_too():
    """Starting the resource tracker, which the first child needs, unblocks two signals."""
    script = """
import multiprocessing, signal
from components.base import child_processes
with child_processes.without_signals():
    multiprocessing.get_context("spawn").Pipe()
    print(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
from multiprocessing import resource_tracker
resource_tracker.ensure_running()
status = open(f"/proc/{resource_tracker._resource_tracker._pid}/status").read()
blocked = int(next(line for line in status.splitlines() if line.startswith("SigBlk"))[7:], 16)
print(*(blocked >> (number - 1) & 1 for number in (1, 2, 15)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("3\n1 1 1\n", "")


def test_a_signal_that_another_thread_receives_comes_after_the_start():
    """Python runs its handler in the main thread, whatever that thread has blocked."""
    script = """
import os, signal, threading, time
from components.base import child_processes, stop_signals
received = []
stop_signals._install(lambda number, _: received.append(number))
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
with child_processes.without_signals():
    os.kill(os.getpid(), signal.SIGTERM)
    while signal.SIGTERM in signal.sigpending():
        pass
    print(len(received))
print(len(received))
os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-uc", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("0\n1\n", "")


def test_a_child_ends_with_its_parent():
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.kill()
        # The output ends when the last process that holds it has ended.
        assert process.communicate(timeout=60) == ("", None)

"""Child processes, which leave all signals to their parent and end with it.

A terminal sends Ctrl-C to all processes of a command, and a scheduler may send SIGTERM to all. If a
child reacted, its parent could find it dead before it handles its own signal.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker

from components.base import stop_signals


@contextlib.contextmanager
def without_signals() -> Iterator[None]:
    """Starts processes with the stop signals blocked, in them and in their children.

    The signals are blocked from the first instruction of a new process. So `Process.terminate`,
    which sends SIGTERM, has no effect; use `Process.kill`.
    """
    # A child whose start is interrupted would print a traceback: its parent sent it no task.
    with stop_signals.deferred():
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals.SIGNALS)
        try:
            # The process that removes semaphores after a crash. Starting it unblocks two signals.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals.SIGNALS)
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def end_with_parent() -> None:
    """Makes this process, which `multiprocessing` started, end when its parent does."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

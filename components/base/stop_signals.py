"""SIGINT, SIGTERM and SIGHUP end a command with one line and exit code 75, whatever it is doing.

While a command works, the handler raises KeyboardInterrupt, so that the code can clean up. Ending
does not depend on that exception, since it can be lost: Python drops it in a destructor, and a
library may take it for a failure of its own. So the handler prints the line; after it, nothing else
reaches standard error, and a thread ends the process if it has not ended by itself.

All handlers are functions: if a signal arrives just before its handler is replaced by SIG_IGN,
Python prints an error.
"""

import _thread
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from components.base import console
from components.base.errors import Stopped

_SECONDS_TO_CLEAR_UP = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_is_stopping = False


def handled() -> list[signal.Signals]:
    """The signals that stop this process; without SIGHUP if `nohup` set it to be ignored."""
    return [
        number
        for number in SIGNALS
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]


def end_at_once() -> None:
    """From now on, a signal ends the process at once: there is nothing to clean up."""
    _install(_on_signal_at_once)


def interrupt() -> None:
    """From now on, the first signal raises KeyboardInterrupt in the main thread."""
    _install(_on_signal)


def ignore() -> None:
    """From now on, signals have no effect."""
    _install(_on_late_signal)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Defers signals that arrive in the body to its end.

    Blocking them in this thread is not enough: another thread may receive them, and Python then
    still runs the handlers in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # No handler runs in this thread.
        return
    pending: list[int] = []
    previous = {number: signal.getsignal(number) for number in handled()}
    _install(lambda number, _frame: pending.append(number))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if pending:
            signal.raise_signal(pending[0])


def is_stopping() -> bool:
    """Whether a signal has raised KeyboardInterrupt, even if that was lost."""
    return _is_stopping


def _install(handler: Callable[[int, object], None]) -> None:
    for number in handled():
        signal.signal(number, handler)


def _on_signal_at_once(number: int, _frame: object) -> NoReturn:
    _say_stopped(number)
    os._exit(Stopped.exit_code)


def _on_signal(number: int, _frame: object) -> None:
    global _is_stopping
    if _is_stopping:
        return
    _is_stopping = True
    ignore()
    _say_stopped(number)
    console.silence()
    # Not `threading.Thread`, whose lock the interrupted code may hold.
    with contextlib.suppress(RuntimeError):
        _thread.start_new_thread(_end_later, ())
    # KeyboardInterrupt is not an Exception, so few handlers catch it. It has an argument because
    # Beam raises an exception without one again as a RuntimeError.
    raise KeyboardInterrupt(signal.Signals(number).name)


def _on_late_signal(_number: int, _frame: object) -> None:
    pass


def _say_stopped(number: int) -> None:
    console.say_at_once(
        f"{signal.Signals(number).name}: stopped; nothing unfinished was published; "
        "run the same command again"
    )


def _end_later() -> None:
    time.sleep(_SECONDS_TO_CLEAR_UP)
    os._exit(Stopped.exit_code)

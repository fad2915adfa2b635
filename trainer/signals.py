"""Stopping on a signal at a good moment."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any


class StopRequest:
    """Whether a signal asked the run to stop, and which."""

    name: str | None = None


@contextlib.contextmanager
def deferred_stop() -> Iterator[StopRequest]:
    """SIGTERM and Ctrl-C set the request, for the loop to look at; a second one acts at once."""
    request = StopRequest()
    previous: dict[signal.Signals, Any] = {}

    def ask(number: int, _frame: object) -> None:
        request.name = signal.Signals(number).name
        # Not by print: the signal may have come in the midst of one, and its buffer knows no two.
        line = f"{request.name}: saving after the steps that run now; again to stop at once\n"
        # Nor may the work be lost where nobody reads any more.
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), line.encode())
        for each, handler in previous.items():
            signal.signal(each, handler)

    for each in (signal.SIGTERM, signal.SIGINT):
        previous[each] = signal.signal(each, ask)
    try:
        yield request
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)

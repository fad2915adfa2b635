"""Stopping on a signal at a good moment."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from components import console


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
        console.say(f"{request.name}: saving after the steps that run now; again to stop at once")
        for each, handler in previous.items():
            signal.signal(each, handler)

    for each in (signal.SIGTERM, signal.SIGINT):
        previous[each] = signal.signal(each, ask)
    try:
        yield request
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)

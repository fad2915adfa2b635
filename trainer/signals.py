"""SIGTERM and Ctrl-C as requests to stop at the next opportunity to save."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any


class StopRequest:
    """A request to stop.

    Attributes:
      signal_name: name of the signal that asked for it, such as `SIGTERM`; None if none has.
    """

    signal_name: str | None = None

    @property
    def is_pending(self) -> bool:
        """Whether a signal has asked the run to stop."""
        return self.signal_name is not None


@contextlib.contextmanager
def deferred_signals() -> Iterator[StopRequest]:
    """Turns the first SIGTERM or Ctrl-C into a request; the next one has its usual effect.

    Yields:
      The request, which the training loop checks between calls of steps.
    """
    request = StopRequest()
    previous_handlers: dict[signal.Signals, Any] = {}

    def restore_handlers() -> None:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)

    def on_signal(number: int, _frame: object) -> None:
        request.signal_name = signal.Signals(number).name
        message = (
            f"{request.signal_name}: finishing the current steps and saving; "
            "send it again to stop at once\n"
        )
        # `print` is not re-entrant, and the signal may have interrupted one. If standard error is
        # closed, the work must still be saved.
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), message.encode())
        restore_handlers()

    for number in (signal.SIGTERM, signal.SIGINT):
        previous_handlers[number] = signal.signal(number, on_signal)
    try:
        yield request
    finally:
        restore_handlers()

"""A signal as a request to stop training at the next opportunity to save."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator

from components.base import console, stop_signals

# `timeout` and some schedulers send a signal to the process and to its group, one after the other.
_SAME_REQUEST_SECONDS = 1.0


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
def deferred_signals(clock: Callable[[], float] = time.monotonic) -> Iterator[StopRequest]:
    """Turns the first stop signal into a request; one that is sent later has its usual effect.

    Only the main thread can handle signals; in other threads, there is never a request.

    Args:
      clock: returns the time in seconds; signals within a second of the first one are the same
        request.

    Yields:
      The request, which the training loop checks between calls of steps.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous_handlers = {number: signal.getsignal(number) for number in stop_signals.handled()}
    requested_at = 0.0

    def restore_handlers() -> None:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)

    def on_signal(number: int, _frame: object) -> None:
        nonlocal requested_at
        name = signal.Signals(number).name
        if not request.is_pending:
            request.signal_name = name
            requested_at = clock()
            console.say_at_once(
                f"{name}: finishing the current steps and saving; send it again to stop at once"
            )
        elif clock() - requested_at >= _SAME_REQUEST_SECONDS:
            restore_handlers()
            signal.raise_signal(number)

    for number in previous_handlers:
        signal.signal(number, on_signal)
    try:
        yield request
    finally:
        restore_handlers()

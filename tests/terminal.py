"""A terminal for tests of progress displays."""

import os
import re
import termios
import threading


class Terminal:
    """A pseudo-terminal that records its output.

    Attributes:
      stream: the text file to write to.
    """

    def __init__(self, *, columns: int = 120):
        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, columns))
        self.stream = os.fdopen(slave, "w")
        self._output = b""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # Reading raises an error when the other end has been closed.
        try:
            while data := os.read(self._master, 1024):
                with self._changed:
                    self._output += data
                    self._changed.notify_all()
        except OSError:
            pass

    def shows(self, pattern: str) -> bool:
        """Whether the output contains a regular expression; waits for it up to 60 seconds."""
        with self._changed:
            return self._changed.wait_for(
                lambda: re.search(pattern, self._output.decode(errors="replace")), timeout=60
            )

    def close(self) -> list[str]:
        """Closes the terminal; returns every state of its lines, in order of display."""
        self.stream.close()
        self._reader.join()
        os.close(self._master)
        return [state for state in re.split(r"[\r\n]+", self._output.decode()) if state.strip()]

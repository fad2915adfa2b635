"""Messages to the user on standard error, and results on standard output.

Every text is made safe for a terminal: names of files and classes come from strangers, and may hold
characters that a terminal obeys. A message that cannot be written is dropped, since the work counts
more: the reader of a pipe may have gone, the terminal may be closed.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO, cast

_STDERR = 2  # Its file descriptor, to which libraries in C++ write too.
# The errors of writing to a pipe without a reader, a closed file descriptor and a closed terminal.
_NO_READER = (errno.EPIPE, errno.EBADF, errno.EIO)
_CLEAR_LINE = "\r\033[K"

# The file descriptor of standard error, or of its copy while `hidden_stderr` hides it.
_visible_stderr = _STDERR
_is_silent = False


def open_streams() -> None:
    """Opens the standard streams that this process was started without.

    Otherwise the next file to be opened would take the place of standard error, and receive what
    libraries write there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system assigns the lowest free descriptor. Child processes inherit it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(_STDERR, "w", closefd=False)  # noqa: SIM115
    # A locale need not have all characters of a text.
    for stream in (sys.stdout, sys.stderr):
        cast(io.TextIOWrapper, stream).reconfigure(errors="backslashreplace")


def say(*lines: str) -> None:
    """Prints a message of one line or several."""
    _write("".join(f"{visible(line)}\n" for line in lines), sys.stderr)


def warn(message: str) -> None:
    """Prints a warning of one line; on a terminal, in bold yellow."""
    text = visible(f"warning: {message}")
    _write(f"\033[1;33m{text}\033[0m\n" if sys.stderr.isatty() else f"{text}\n", sys.stderr)


def show(text: str) -> None:
    """Prints a result of one line or several on standard output, for a person or a program.

    Raises:
      OSError: the result could not be stored, for example on a full disk.
    """
    _write("".join(f"{visible(line)}\n" for line in text.split("\n")), sys.stdout)


def say_at_once(message: str) -> None:
    """Prints a message from a signal handler, even within `hidden_stderr`.

    `say` is not re-entrant, and the signal may have interrupted one.
    """
    with contextlib.suppress(OSError):
        start = _CLEAR_LINE if os.isatty(_visible_stderr) else ""
        os.write(_visible_stderr, f"{start}{message}\n".encode())


def flush() -> None:
    """Writes the buffered output of both streams.

    Raises:
      OSError: a result could not be stored.
    """
    for stream in (sys.stdout, sys.stderr):
        _write("", stream)


def visible(text: str) -> str:
    r"""Text in which every character is visible: others become escapes, such as `\x1b`.

    Among these are line breaks, control characters and those that reverse the order of others.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def counted(count: int, noun: str) -> str:
    """A count with its noun, which takes an s in the plural: `1 file`, `2,000 files`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@contextlib.contextmanager
def hidden_stderr() -> Iterator[None]:
    """Hides what libraries and new processes write to standard error; must not be nested."""
    global _visible_stderr
    _write("", sys.stderr)
    _visible_stderr = os.dup(_STDERR)
    try:
        _discard(_STDERR)
        yield
    finally:
        if not _is_silent:
            os.dup2(_visible_stderr, _STDERR)
        os.close(_visible_stderr)
        _visible_stderr = _STDERR


def silence() -> None:
    """Discards all that is written to standard error from now on."""
    global _is_silent
    _is_silent = True
    _discard(_STDERR)


def _write(text: str, stream: TextIO) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        if stream is sys.stdout and error.errno not in _NO_READER:
            raise
        # The rest of the buffer would fail again at the exit.
        _discard(stream.fileno())


def _discard(descriptor: int) -> None:
    """Discards all that is written to a file descriptor from now on."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)

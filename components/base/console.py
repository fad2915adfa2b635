"""What a command says while it works: one line a message, on standard error."""

import sys


def say(message: str) -> None:
    """An ordinary line."""
    print(message, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """A line that should not be missed; bold yellow on a terminal."""
    text = f"warning: {message}"
    say(f"\033[1;33m{text}\033[0m" if sys.stderr.isatty() else text)

"""Messages to the user, one line each, on standard error.

Standard output stays free for results that another program may read.
"""

import sys


def say(message: str) -> None:
    """Prints a message."""
    print(message, file=sys.stderr, flush=True)


def counted(count: int, noun: str) -> str:
    """A count with its noun, which takes an s in the plural: `1 file`, `2,000 files`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def warn(message: str) -> None:
    """Prints a warning; on a terminal, in bold yellow."""
    text = f"warning: {message}"
    say(f"\033[1;33m{text}\033[0m" if sys.stderr.isatty() else text)

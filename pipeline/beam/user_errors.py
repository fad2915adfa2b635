"""Sends user errors from Beam workers to the driver.

Runners pass on a worker's exception in different forms: as the exception itself, as one of the same
class with more text in its message, or as a RuntimeError whose message is a traceback. All of them
keep the text of the message, unless it is very long. So a user error is sent as a token in the
message of an exception: its type, its message and the name of its machine, encoded, between two
marks.
"""

import base64
import contextlib
import json
import platform
from collections.abc import Callable, Iterator
from typing import Any

from components.base import file_errors
from components.base.errors import ConfigError, Stopped, UserError, WorkError

_BEGIN, _END = "[user-error:", ":user-error]"
_MAX_LENGTH = 10_000  # Prism passes on no message of megabytes.
_TYPES = {kind.__name__: kind for kind in (UserError, WorkError, ConfigError, Stopped)}


class EncodedUserError(Exception):
    """The exception whose message carries a user error through a runner."""


@contextlib.contextmanager
def encoded() -> Iterator[None]:
    """Replaces a user error or a file error in the body by an EncodedUserError."""
    try:
        with file_errors.as_work_errors():
            yield
    except UserError as error:
        kind = next(base.__name__ for base in type(error).__mro__ if base.__name__ in _TYPES)
        fields = json.dumps([kind, _shortened(str(error)), platform.node()])
        # Base64 text is not changed by quoting or by line wrapping.
        token = base64.b64encode(fields.encode()).decode()
        # Without its cause: runners send the traceback as text, and a file name in the message of
        # the cause need not be valid UTF-8.
        raise EncodedUserError(f"{_BEGIN}{token}{_END}") from None


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"


def decode(error: Exception) -> UserError | None:
    """The user error in a runner's exception; None if there is none.

    Its message names the machine, if that is not this one.
    """
    # A message may contain the marks by chance, so look for a token between each pair of them.
    for text in str(error).split(_BEGIN)[1:]:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            fields = json.loads(base64.b64decode(text.partition(_END)[0], validate=True))
            kind, message, machine = fields
            where = "" if machine == platform.node() else f" (on the worker {machine})"
            return _TYPES[kind](f"{message}{where}")
    return None


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function, and explains file errors.

    For functions that run in another process: an exception loses its traceback on its way to this
    process, and `file_errors` needs it to recognize the errors of remote files.
    """
    with file_errors.as_work_errors():
        return function(*arguments)

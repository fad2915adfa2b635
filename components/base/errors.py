"""The ways a command ends that are not bugs: one line each, with an exit code."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error a user can cause and mend. Its text is one line: what, where, what to do."""

    exit_code = 1


class WorkError(UserError):
    """The command was understood, but the work failed."""

    exit_code = 1


class ConfigError(UserError):
    """The command line or the config is wrong; nothing was touched."""

    exit_code = 2


class Stopped(UserError):  # noqa: N818 - no mistake, so no error
    """Stopped by a signal with the work saved: the same command goes on."""

    exit_code = 75


def nearest(name: str, valid: Iterable[str], *, count: int = 3) -> str:
    """Names the valid names nearest to `name`, or all of them where none is near."""
    valid = sorted(valid)
    near = difflib.get_close_matches(name, valid, n=count, cutoff=0.5)
    if near:
        return f"nearest: {', '.join(near)}"
    return f"valid: {', '.join(valid[:12])}{', …' if len(valid) > 12 else ''}"

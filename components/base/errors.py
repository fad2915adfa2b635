"""Errors for the user: each is reported in one line and determines the exit code."""

from collections.abc import Iterable

_MAX_LISTED = 12


class UserError(Exception):
    """An error that the user can cause and fix.

    The message is one line that says what is wrong, where, and what to do.
    """

    exit_code = 1


class WorkError(UserError):
    """The command was understood, but the work failed."""

    exit_code = 1


class ConfigError(UserError):
    """The command line or the config is wrong; no file was changed."""

    exit_code = 2


class Stopped(UserError):  # noqa: N818 - an interruption is not an error
    """A signal stopped the work; running the same command again continues it."""

    exit_code = 75


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint for an error message about an unknown name.

    Args:
      name: the unknown name.
      valid: the names that are valid.

    Returns:
      `nearest: ` and the most similar valid names, or `valid: ` and the first valid names in
      alphabetical order if none is similar.
    """
    import difflib  # Imported here, since commands start with this module.

    valid = sorted(valid)
    suggestions = difflib.get_close_matches(name, valid, n=3, cutoff=0.5)
    if suggestions:
        return f"nearest: {', '.join(suggestions)}"
    ellipsis = ", …" if len(valid) > _MAX_LISTED else ""
    return f"valid: {', '.join(valid[:_MAX_LISTED])}{ellipsis}"


def one_line(error: object, *, length: int | None = None) -> str:
    """An error's message on one line, shortened to `length` characters (None: not shortened)."""
    text = " ".join(str(error).split())
    return text if length is None or len(text) <= length else f"{text[:length]}…"

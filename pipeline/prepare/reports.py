"""The reports that prepare's workers leave as files: what says that a task is done."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from etils import epath

from components.base import files, json_lines

Report = TypeVar("Report")


def write(path: epath.Path, report: dict[str, Any]) -> None:
    """Writes the JSON value of a report, atomically."""
    json_lines.write(path, [report])


def load(path: epath.Path, from_json: Callable[[Any], Report]) -> Report | None:
    """The report of a task that is done.

    Args:
      path: the file.
      from_json: makes the report from its JSON value.

    Returns:
      The report; None if there is none, or only what a failure of the machine has left of it.
    """
    try:
        return from_json(json.loads(path.read_bytes())) if path.exists() else None
    except ValueError:
        return None


def load_all(directory: epath.Path, from_json: Callable[[Any], Report]) -> list[Report]:
    """The reports in a directory, in the order of their names, which runners do not affect."""
    paths = files.list_matching(directory, "*.json")
    return [from_json(json.loads(path.read_bytes())) for path in paths]

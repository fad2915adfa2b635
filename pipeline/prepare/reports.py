"""Reports: the small JSON files that prepare's workers write when a task is done.

A task that has a report is not run again. After a kill, the same command runs the other tasks.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from etils import epath

from components.base import files, json_lines
from components.sources import image_files

Report = TypeVar("Report")


def write(path: epath.Path, report: dict[str, Any]) -> None:
    """Writes the JSON value of a report, atomically."""
    json_lines.write(path, [report])


def load(path: epath.Path, from_json: Callable[[Any], Report]) -> Report | None:
    """The report of a task, if the task is done.

    Args:
      path: the file.
      from_json: makes the report from its JSON value.

    Returns:
      The report; None if there is none, or if a failure of the machine has damaged it.
    """
    try:
        return from_json(json.loads(path.read_bytes())) if path.exists() else None
    except ValueError:
        return None


def load_all(directory: epath.Path, from_json: Callable[[Any], Report]) -> list[Report]:
    """The reports in a directory, in the order of their names, which runners do not affect."""
    return list(load_each(directory, from_json))


def load_each(directory: epath.Path, from_json: Callable[[Any], Report]) -> Iterator[Report]:
    """Yields the reports of `load_all` one by one; only their names are all in memory."""

    def read(name: str) -> Report:
        return from_json(json.loads((directory / name).read_bytes()))

    names = files.names_matching(directory, "*.json")
    yield from (image_files.read_ahead if files.is_remote(directory) else map)(read, names)

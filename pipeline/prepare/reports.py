"""Reports: the small JSON files that prepare's workers write when a task is done.

A task that has a report is not run again. After a kill, the same command runs the other tasks.

The first line of a report is its JSON value. The second one has the checksums of the first line and
of the files that the report describes. So a task is run again if a failure of the machine has
damaged what it wrote.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from etils import epath

from components.base import artifacts, files
from components.base.errors import WorkError
from components.sources import image_files

Report = TypeVar("Report")

_PIECE = 1 << 20  # bytes that are read at once


def write(path: epath.Path, report: dict[str, Any], *, of: Sequence[epath.Path] = ()) -> None:
    """Writes the JSON value of a report, atomically.

    Args:
      path: the file.
      report: the JSON value.
      of: the files that the report describes, which are complete.
    """
    line = json.dumps(report, ensure_ascii=False).encode()
    checksums = [zlib.crc32(line), *map(_checksum, of)]
    with artifacts.atomic_write(path) as temporary:
        temporary.write_bytes(b"%b\n%b\n" % (line, json.dumps(checksums).encode()))


def load(
    path: epath.Path, from_json: Callable[[Any], Report], *, of: Sequence[epath.Path] | None = None
) -> Report | None:
    """The report of a task, if the task is done.

    Args:
      path: the file.
      from_json: makes the report from its JSON value.
      of: the files that the report describes, in the order in which `write` was given them; None
        if they are not to be read.

    Returns:
      The report; None if there is none, or if a failure of the machine has damaged it or one of the
      files that it describes.
    """
    if not path.exists():
        return None
    try:
        line, checksums = path.read_bytes().splitlines()
        checksum, *others = json.loads(checksums)
        if checksum != zlib.crc32(line):
            return None
        if of is not None and others != list(map(_checksum, of)):
            return None
    except (ValueError, TypeError, FileNotFoundError):
        return None
    return from_json(json.loads(line))


def load_all(directory: epath.Path, from_json: Callable[[Any], Report]) -> list[Report]:
    """The reports in a directory, in the order of their names, which runners do not affect."""
    return list(load_each(directory, from_json))


def load_each(directory: epath.Path, from_json: Callable[[Any], Report]) -> Iterator[Report]:
    """Yields the reports of `load_all`, of which it holds only the names.

    Raises:
      WorkError: a report is damaged.
    """

    def read(name: str) -> Report:
        report = load(directory / name, from_json)
        if report is None:
            raise WorkError(f"{directory / name} is damaged; run the same command again")
        return report

    names = files.names_matching(directory, "*.json")
    yield from (image_files.read_ahead if files.is_remote(directory) else map)(read, names)


def _checksum(path: epath.Path) -> int:
    total = 0
    with files.open_regular(path) as file:
        while data := file.read(_PIECE):
            total = zlib.crc32(data, total)
    return total

"""JSON Lines files: one JSON value per line, in UTF-8."""

import heapq
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from etils import epath

from components.base import artifacts, files, json_types

_MAX_MERGED = 256  # Files that are merged at once: a process may have about a thousand open files.


def write(path: epath.Path, values: Iterable[Any], *, durable: bool = False) -> None:
    """Writes JSON values to a file, atomically.

    Args:
      path: the file to write.
      values: the values, one per line.
      durable: flush the file to disk if it is local, so that it survives a power failure.
    """
    with artifacts.atomic_write(path) as temporary, temporary.open("wb") as file:
        # TensorFlow creates a remote file only when something is written to it.
        file.write(b"")
        for value in values:
            file.write(f"{json.dumps(value, ensure_ascii=False)}\n".encode())
        if durable and os.path.isfile(temporary):
            file.flush()
            os.fsync(file.fileno())


def read(path: epath.Path) -> Iterator[Any]:
    """Yields the values of a file.

    Raises:
      ValueError: a line is not JSON, or is nested too deeply.
      WorkError: it is not a regular file.
    """
    with files.open_regular(path) as file:
        for line in file:
            yield json_types.parse_text(line)


def merged(
    paths: Sequence[epath.Path], order: Callable[[Any], Any], scratch: epath.Path
) -> Iterator[Any]:
    """Yields the values of several sorted files in order, without holding them in memory.

    Args:
      paths: the files.
      order: the sort key of a value.
      scratch: the first part of the paths of intermediate files, which very many files need.

    Raises:
      ValueError: a line is not JSON, or is nested too deeply.
      WorkError: a file is not a regular one.
    """
    level = 0
    while len(paths) > _MAX_MERGED:
        larger = []
        for first in range(0, len(paths), _MAX_MERGED):
            path = scratch.parent / f"{scratch.name}-{level}-{first}"
            write(path, _merged(paths[first : first + _MAX_MERGED], order))
            larger.append(path)
        paths = larger
        level += 1
    yield from _merged(paths, order)


def _merged(paths: Sequence[epath.Path], order: Callable[[Any], Any]) -> Iterator[Any]:
    return heapq.merge(*map(read, paths), key=order)

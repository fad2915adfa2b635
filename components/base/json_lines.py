"""JSON Lines files: one JSON value per line, in UTF-8."""

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from etils import epath

from components.base import artifacts, files, json_types


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

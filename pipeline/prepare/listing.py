"""Listings: files with what the tasks of a step read, so that the tasks themselves are small.

A runner sends all tasks to its workers in one message, which many runners limit to 2 GB. The names
of a hundred million files take more. So the reading tasks are lines of a file, and the runner sends
only the number of a line. Another file lists the sorted runs, which every shard reads.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from etils import epath

from components.base import artifacts, json_lines
from components.ingest.sorted_runs import SortedRun
from components.sources.source import Slice
from pipeline.prepare.messages import ReadTask

LISTING = "listing.jsonl"
RUNS = "runs.jsonl"
_PLACES = "listing.places"  # The offset in bytes of each line, and of the end.
_PLACE = np.dtype("<u8")
_PART = [field.name for field in dataclasses.fields(Slice)]

Result = TypeVar("Result")


def write_runs(runs: Iterable[SortedRun], work_dir: epath.Path) -> None:
    """Lists the sorted runs that shards are written from, for `read_runs`."""
    json_lines.write(work_dir / RUNS, map(dataclasses.asdict, runs))


def read_runs(work_dir: epath.Path) -> list[SortedRun]:
    """The sorted runs that shards are written from."""
    return list(map(SortedRun.from_json, json_lines.read(work_dir / RUNS)))


def write(tasks: Iterable[ReadTask], work_dir: epath.Path) -> range:
    """Writes the listing of some tasks.

    Args:
      tasks: the tasks, in the order of their numbers, from 0.
      work_dir: the work directory, which every worker can read.

    Returns:
      The numbers of the tasks, for `read`.
    """
    offsets = [0]
    with artifacts.atomic_write(work_dir / LISTING) as temporary, temporary.open("wb") as file:
        # TensorFlow creates a remote file only when something is written to it.
        file.write(b"")
        for task in tasks:
            part = {name: getattr(task.part, name) for name in _PART}
            wanted = None if task.wanted_ids is None else sorted(task.wanted_ids)
            # In ASCII: a file's name need not be valid UTF-8.
            line = f"{json.dumps([task.source, part, wanted])}\n".encode()
            file.write(line)
            offsets.append(offsets[-1] + len(line))
    with artifacts.atomic_write(work_dir / _PLACES) as temporary:
        temporary.write_bytes(np.array(offsets, _PLACE).tobytes())
    return range(len(offsets) - 1)


def read(number: int, work_dir: epath.Path) -> ReadTask:
    """The task with a number, from the listing.

    Args:
      number: one of the numbers that `write` returned.
      work_dir: the work directory.
    """
    with (work_dir / _PLACES).open("rb") as file:
        file.seek(number * _PLACE.itemsize)
        start, end = np.frombuffer(file.read(2 * _PLACE.itemsize), _PLACE).tolist()
    with (work_dir / LISTING).open("rb") as file:
        file.seek(start)
        source, part, wanted = json.loads(file.read(end - start))
    wanted_ids = None if wanted is None else frozenset(wanted)
    return ReadTask(number, source, Slice(**{**part, "files": tuple(part["files"])}), wanted_ids)


def with_task(
    number: int, work_dir: epath.Path, function: Callable[..., Result], *arguments: Any
) -> Result:
    """Calls `function(task, *arguments)` with a task of the listing.

    Args:
      number: the number of the task.
      work_dir: the work directory.
      function: the function.
      arguments: its other arguments.
    """
    return function(read(number, work_dir), *arguments)

"""The listings: files with what tasks read, so that no task carries it.

Runners send all tasks to their workers in one message, of at most 2 GB in many of them. The names
of a hundred million files are longer. So a task that names its inputs has a line in a file, which
its worker reads, and carries the place of this line. Another file lists the sorted runs, which
every shard reads.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence

from etils import epath

from components.base import artifacts, json_lines
from components.ingest.sorted_runs import SortedRun
from pipeline.prepare.messages import ReadTask

LISTING = "listing.jsonl"
RUNS = "runs.jsonl"


def write_runs(runs: Iterable[SortedRun], work_dir: epath.Path) -> None:
    """Lists the sorted runs that shards are written from, for `read_runs`."""
    json_lines.write(work_dir / RUNS, map(dataclasses.asdict, runs))


def read_runs(work_dir: epath.Path) -> list[SortedRun]:
    """The sorted runs that shards are written from."""
    return list(map(SortedRun.from_json, json_lines.read(work_dir / RUNS)))


def write(tasks: Sequence[ReadTask], work_dir: epath.Path) -> list[ReadTask]:
    """Writes the listing of some tasks.

    Args:
      tasks: the tasks, with the names of their inputs.
      work_dir: the work directory, which every worker can read.

    Returns:
      The tasks without these names.
    """
    listed: list[ReadTask] = []
    place = 0
    with artifacts.atomic_write(work_dir / LISTING) as temporary, temporary.open("wb") as file:
        # TensorFlow creates a remote file only when something is written to it.
        file.write(b"")
        for task in tasks:
            if not task.part.files and task.wanted_ids is None:
                listed.append(task)
                continue
            wanted = None if task.wanted_ids is None else sorted(task.wanted_ids)
            # In ASCII: a file's name need not be valid UTF-8.
            line = f"{json.dumps([task.part.files, wanted])}\n".encode()
            file.write(line)
            part = dataclasses.replace(task.part, files=())
            listed.append(ReadTask(task.number, task.source, part, None, (place, len(line))))
            place += len(line)
    return listed


def complete(task: ReadTask, work_dir: epath.Path) -> ReadTask:
    """A task with the names of its inputs, from the listing.

    Args:
      task: the task that `write` returned.
      work_dir: the work directory.
    """
    if task.listed is None:
        return task
    place, size = task.listed
    with (work_dir / LISTING).open("rb") as file:
        file.seek(place)
        names, wanted = json.loads(file.read(size))
    part = dataclasses.replace(task.part, files=tuple(names))
    wanted_ids = None if wanted is None else frozenset(wanted)
    return ReadTask(task.number, task.source, part, wanted_ids)

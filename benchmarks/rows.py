"""Rows of the benchmarks' tables: each is one task, and each of its runs one process."""

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from typing import Any

from benchmarks import processes
from benchmarks.processes import CommandRun


@dataclasses.dataclass(frozen=True)
class BenchmarkRow:
    """One thing to measure.

    Attributes:
      name: the row's label.
      task: a key of `benchmarks.tasks.run.TASKS`.
      arguments: the task's; a path named `output` is removed after each run.
      is_ours: whether it measures this project, not a peer.
      judge: remark on the ratio of our speed to this row's.
      missing: why it cannot be measured; empty if it can.
    """

    name: str
    task: str
    arguments: dict[str, Any]
    _: dataclasses.KW_ONLY
    is_ours: bool = False
    judge: Callable[[float], str] = lambda _: ""
    missing: str = ""

    @property
    def output(self) -> str:
        """The path that the task writes to; empty if there is none."""
        return self.arguments.get("output", "")


def run_task(task: str, arguments: dict[str, Any], *, sample_memory: bool) -> CommandRun:
    """Runs a task in a new process.

    Raises:
      CommandError: it fails.
    """
    command = processes.python("benchmarks.tasks.run", task, json.dumps(arguments))
    return processes.run(command, sample_memory=sample_memory)


def missing(package: str) -> str:
    """The reason to skip a row that needs a package; empty if the package is installed."""
    return "" if importlib.util.find_spec(package) else "skipped: not installed"

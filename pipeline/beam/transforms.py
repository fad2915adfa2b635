"""The Beam transform that every stage uses: it runs tasks.

An element of a collection is a task for thousands of images, because Beam's overhead per element
exceeds the work for one image. The results of a task are files and counters.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, as_completed
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from pipeline.beam import user_errors
from pipeline.beam.worker_pool import TaskRunner, explain_crashes

COUNTERS = "tasks"


class RunTask(beam.DoFn):
    """Calls `function(task, *arguments)` for each task, and adds up the counters that it returns.

    All tasks of a bundle are submitted before the first result is waited for, so that a pool of
    workers runs them at the same time.

    Args:
      function: a function of a module, which can be pickled.
      arguments: picklable values, the same for every task.
      task_runner: where the function runs.
    """

    def __init__(
        self,
        function: Callable[..., Mapping[str, int]],
        *arguments: Any,
        task_runner: TaskRunner,
    ):
        self._directory = os.getcwd()
        self._function = function
        self._arguments = arguments
        self._task_runner = task_runner

    def setup(self) -> None:
        # Relative paths in a task are those of the launcher. A worker without that directory can
        # only have tasks with absolute paths.
        with contextlib.suppress(OSError):
            os.chdir(self._directory)

    def start_bundle(self) -> None:
        self._running: list[Future[Mapping[str, int]]] = []

    def process(self, task) -> None:
        with user_errors.encoded(), explain_crashes():
            future = self._task_runner.submit(
                user_errors.call, self._function, task, *self._arguments
            )
            self._running.append(future)

    def finish_bundle(self) -> None:
        with user_errors.encoded(), explain_crashes():
            for future in as_completed(self._running):
                for name, count in future.result().items():
                    Metrics.counter(COUNTERS, name).inc(count)

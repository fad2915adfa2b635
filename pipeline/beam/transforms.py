"""The Beam transform that every stage uses: it runs tasks.

A task is for thousands of images, because Beam's overhead per element exceeds the work for one
image. The results of a task are files and counters.
"""

import contextlib
import os
import queue
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from pipeline.beam import user_errors
from pipeline.beam.worker_pool import Shared, TaskRunner, call, explain_crashes

COUNTERS = "tasks"

# The most tasks of a bundle that wait or run at once: enough for all cores of a large machine. A
# task that waits costs about 2 kB.
_MAX_RUNNING = 1024


class RunTasks(beam.DoFn):
    """Calls `function(task, *arguments)` for each task, and adds up the counters that it returns.

    An element is a sequence of tasks. Many tasks of a bundle are submitted before the first result
    is waited for, so that a pool of workers runs them at the same time.

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
        # Relative paths in a task are those of the driver. A worker without that directory can
        # only have tasks with absolute paths.
        with contextlib.suppress(OSError):
            os.chdir(self._directory)

    def start_bundle(self) -> None:
        self._shared = Shared(self._arguments)
        self._num_running = 0
        # SimpleQueue, since the threads of a pool put the futures in.
        self._finished: queue.SimpleQueue[Future[Mapping[str, int]]] = queue.SimpleQueue()

    # Without a type: Beam would compare it with that of the elements.
    def process(self, tasks) -> None:
        with user_errors.encoded(), explain_crashes():
            for task in tasks:
                future = self._task_runner.submit(call, self._function, task, self._shared)
                self._num_running += 1
                future.add_done_callback(self._finished.put)
                while self._num_running == _MAX_RUNNING or not self._finished.empty():
                    self._count_next()

    def finish_bundle(self) -> None:
        with user_errors.encoded(), explain_crashes():
            while self._num_running:
                self._count_next()

    def _count_next(self) -> None:
        """Waits for the end of any task, and adds its counters."""
        counters = self._finished.get().result()
        self._num_running -= 1
        for name, count in counters.items():
            Metrics.counter(COUNTERS, name).inc(count)

"""Worker processes on this machine, for Beam's in-memory runner, which uses one core by itself.

The workers are forked from a server process that has no threads, so that it does not matter what
the main process has imported or started. They exit when the main process does, even if it is
killed.
"""

import concurrent.futures
import contextlib
import functools
import gc
import itertools
import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, Protocol

from components.base import child_processes, console
from components.base.errors import WorkError
from pipeline.beam import user_errors

# Modules that the workers need. The server imports them once, before it forks the workers.
_PRELOADED = ["pipeline.prepare.workers", "tensorflow_datasets.proto"]

# The pools of this process, by number.
_numbers = itertools.count()
_pools: "weakref.WeakValueDictionary[int, WorkerPool]" = weakref.WeakValueDictionary()


class WorkerProcess(ForkServerProcess):
    """A worker process, in which SIGTERM is blocked."""

    def terminate(self) -> None:
        """Kills the process; the executor calls this when another worker has died."""
        self.kill()


class _Context(ForkServerContext):
    Process = WorkerProcess


class TaskRunner(Protocol):
    """Runs functions, in this process or in others."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Starts `function(*arguments)`; returns its future result."""


class InThisProcess:
    """Runs functions in the process that submits them."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Runs the function, and raises its exception, so that no further task starts."""
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


class WorkerPool:
    """Runs functions in worker processes.

    Beam pickles the attributes of a DoFn, even for workers in this process, and a pool cannot be
    pickled. So a pool is pickled as a number that looks it up in the same process.
    """

    def __init__(self, executor: ProcessPoolExecutor):
        self._executor = executor
        self._number = next(_numbers)
        _pools[self._number] = self

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Queues a function for the next free worker; pickles it and its arguments."""
        return self._executor.submit(function, *arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return _pool_numbered, (self._number,)


def _pool_numbered(number: int) -> WorkerPool:
    return _pools[number]


class Shared:
    """Arguments that many calls in a pool share, such as a source with many files.

    They are pickled once, and each worker unpickles them once.

    Attributes:
      values: the arguments.
    """

    def __init__(self, values: Sequence[Any]):
        self.values = values

    @functools.cached_property
    def _pickled(self) -> bytes:
        return pickle.dumps(self.values)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self._pickled,)


@functools.lru_cache(maxsize=1)
def _unpickled(values: bytes) -> Shared:
    return Shared(pickle.loads(values))


def call(function: Callable[..., Any], task: Any, shared: Shared) -> Any:
    """Calls `function(task, *shared.values)`, and explains file errors.

    It is here because workers must not import Beam, which takes a second.
    """
    return user_errors.call(function, task, *shared.values)


def start_server() -> None:
    """Starts the process that forks the workers; it imports their modules in the background."""
    _Context().set_forkserver_preload(_PRELOADED)
    # The workers inherit both: they receive no signals, and they print nothing if the main process
    # ends while they start or work.
    with console.hidden_stderr(), child_processes.without_signals():
        multiprocessing.forkserver.ensure_running()


@contextlib.contextmanager
def workers(max_workers: int) -> Iterator[WorkerPool]:
    """A pool of worker processes, one per core, at most `max_workers`, which end with the body."""
    start_server()
    count = min(max_workers, num_cores())
    executor = ProcessPoolExecutor(count, _Context(), initializer=_initialize_worker)
    # All workers start before the thread that watches them. It would not notice the death of one
    # that starts later before the next task is submitted, and the others might wait for it forever.
    vars(executor)["_safe_to_dynamically_spawn_children"] = False
    # In a thread, since submitting a task waits for the server's imports.
    threading.Thread(target=_warm_up, args=(executor, count), daemon=True).start()
    is_interrupted = False
    try:
        yield WorkerPool(executor)
    except KeyboardInterrupt:
        is_interrupted = True
        raise
    finally:
        # On Ctrl-C, do not wait; workers exit with the parent.
        executor.shutdown(wait=not is_interrupted, cancel_futures=True)


def can_use_pool(beam_args: Sequence[str]) -> bool:
    """Whether Beam runs in this process, so that its tasks can use a pool of this process."""
    return not any(option.startswith(("--runner", "--direct_")) for option in beam_args)


@contextlib.contextmanager
def explain_crashes() -> Iterator[None]:
    """Raises a WorkError of one line if a worker process was killed."""
    try:
        yield
    except BrokenProcessPool:
        raise WorkError(
            "a worker process was killed, most likely because memory ran out; free some memory, "
            "or use a single process (-- --direct_running_mode=in_memory), and run the same "
            "command again"
        ) from None


def num_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _warm_up(executor: concurrent.futures.Executor, count: int) -> None:
    # RuntimeError: the pool has been shut down before its workers started.
    with contextlib.suppress(RuntimeError):
        for _ in range(count):
            executor.submit(os.getpid)


def _initialize_worker() -> None:
    # Imported modules stay in memory; the garbage collector need not examine them.
    gc.freeze()
    child_processes.end_with_parent()

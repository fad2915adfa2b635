"""The cores of this machine, for Beam's in-memory runner, which itself uses one.

Worker processes are forked from a clean server process, so that it does not matter what the main
one has imported or started; they end when the main one ends, however that ends.
"""

import concurrent.futures
import contextlib
import gc
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from components.base.errors import WorkError

# What the workers need; imported once, by the server that they are forked from.
_PRELOADED = ["pipeline.prepare.workers", "tensorflow_datasets.proto"]

_pool: ProcessPoolExecutor | None = None


def start_server() -> None:
    """Starts the process that workers will be forked from; it makes ready beside this one."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)
    multiprocessing.forkserver.ensure_running()


@contextlib.contextmanager
def workers(most: int) -> Iterator[None]:
    """Has worker processes, one a core but at most so many, while the body runs."""
    global _pool
    start_server()
    count = min(most, _cores())
    _pool = ProcessPoolExecutor(
        count, multiprocessing.get_context("forkserver"), initializer=_begin
    )
    # Submitting waits for the server's imports; the main process has its own to do meanwhile.
    threading.Thread(target=_warm_up, args=(_pool, count), daemon=True).start()
    is_stopped = False
    try:
        yield
    except KeyboardInterrupt:
        is_stopped = True
        raise
    finally:
        # Who stops the work does not wait for it: the workers end with this process.
        _pool.shutdown(wait=not is_stopped, cancel_futures=True)
        _pool = None


def serves(beam_args: Sequence[str]) -> bool:
    """Whether Beam runs in this process alone, so that its workers' work can go to others."""
    return not any(each.startswith(("--runner", "--direct_")) for each in beam_args)


def pool() -> concurrent.futures.Executor | None:
    """The worker processes, where there are any."""
    return _pool


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raises WorkError where a worker process ends before its work."""
    try:
        yield
    except BrokenProcessPool:
        raise WorkError(
            "a worker process was killed, most likely for want of memory; make room, or use one "
            "process (-- --direct_running_mode=in_memory), and give the same command again"
        ) from None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _warm_up(pool: ProcessPoolExecutor, count: int) -> None:
    with contextlib.suppress(RuntimeError):  # Shut down already: there was nothing to do.
        for _ in range(count):
            pool.submit(os.getpid)


def _begin() -> None:
    gc.freeze()  # What was imported stays; looking through it again and again takes time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

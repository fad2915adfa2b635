import operator
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from concurrent.futures.process import BrokenProcessPool

import pytest

from components.base.errors import WorkError
from components.base.stop_signals import SIGNALS
from pipeline.beam import worker_pool
from tests.conftest import ROOT

# The workers inherit the standard output of the script, and one of them writes to it.
_SCRIPT = """
import os, signal
from pipeline.beam import worker_pool

with worker_pool.workers(2) as pool:
    pids = {pool.submit(os.getpid).result() for _ in range(20)}
    pool.submit(os.write, 1, b"a worker writes here\\n").result()
    print(os.getpid(), *pids, flush=True)
    pool.submit(signal.pause)
    print("ready", flush=True)
    signal.pause()
"""


def test_workers_are_processes_that_end_with_the_body():
    with worker_pool.workers(2) as pool:
        pids = {pool.submit(os.getpid).result() for _ in range(20)}
        assert os.getpid() not in pids
        assert 0 < len(pids) <= len(os.sched_getaffinity(0))
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core, one worker")
def test_two_workers_run_at_the_same_time(tmp_path):
    # Opening a pipe blocks until its other end is opened too.
    os.mkfifo(tmp_path / "pipe")
    with worker_pool.workers(2) as pool:
        ends = [
            pool.submit(os.open, tmp_path / "pipe", flags) for flags in (os.O_RDONLY, os.O_WRONLY)
        ]
        assert all(end.result(timeout=60) for end in ends)


def test_a_failure_of_the_body_leaves_no_workers():
    with pytest.raises(ZeroDivisionError), worker_pool.workers(2) as pool:
        pid = pool.submit(os.getpid).result()
        raise ZeroDivisionError
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_pool_can_end_before_its_workers_have_started():
    for _ in range(3):
        with worker_pool.workers(2):
            pass


def test_an_error_in_a_worker_is_raised():
    with worker_pool.workers(2) as pool, pytest.raises(ValueError, match="invalid literal"):
        pool.submit(int, "x").result()


class LeavesFiles:
    """An object that counts how often it is pickled; unpickling it creates a file."""

    def __init__(self, directory):
        self.directory = str(directory)
        self.pickled = 0

    def __reduce__(self):
        self.pickled += 1
        return tempfile.mkstemp, (None, None, self.directory)


def test_shared_arguments_are_pickled_once_and_unpickled_once_by_each_worker(tmp_path):
    argument = LeavesFiles(tmp_path)
    shared = worker_pool.Shared((argument, 7))
    assert shared.values == (argument, 7)
    with worker_pool.workers(2) as pool:
        values = [pool.submit(operator.attrgetter("values"), shared) for _ in range(20)]
        assert {each.result(timeout=60)[1] for each in values} == {7}
    assert argument.pickled == 1
    assert 1 <= len(list(tmp_path.iterdir())) <= 2


def test_other_shared_arguments_replace_the_first():
    with worker_pool.workers(1) as pool:
        for value in ("a", "b", "a"):
            shared = worker_pool.Shared([value])
            assert pool.submit(operator.attrgetter("values"), shared).result() == [value]


def test_only_the_main_process_receives_signals():
    with worker_pool.workers(2) as pool:
        blocked = pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result()
    assert blocked >= set(SIGNALS)


def test_workers_print_no_messages():
    """Not even when one of them dies at its start, because its parent has just ended."""
    with worker_pool.workers(1) as pool:
        stderr = pool.submit(os.readlink, "/proc/self/fd/2").result()
    assert stderr == os.devnull


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core, one worker")
def test_a_killed_worker_does_not_leave_the_others_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BrokenProcessPool), worker_pool.workers(2) as pool:
        pool.submit(os.open, tmp_path / "pipe", os.O_RDONLY)  # It waits for ever.
        pool.submit(signal.raise_signal, signal.SIGKILL).result(timeout=60)


def test_workers_end_when_the_main_process_is_killed():
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            lines = [process.stdout.readline() for _ in range(3)]
            assert lines[0] == "a worker writes here\n"
            main, *pids = map(int, lines[1].split())
            assert main == process.pid
            assert pids
            assert lines[2] == "ready\n"
            process.kill()
            # The output ends when the last process that holds it has ended.
            assert process.communicate(timeout=60) == ("", None)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("beam_args", "served"),
    [
        ([], True),
        (["--temp_location=/tmp/x"], True),
        (["--runner=FlinkRunner"], False),
        (["--runner", "DirectRunner"], False),
        (["--direct_num_workers=2"], False),
        (["--temp_location=/tmp/x", "--direct_running_mode=multi_threading"], False),
    ],
)
def test_the_pool_serves_only_the_runner_in_this_process(beam_args, served):
    assert worker_pool.can_use_pool(beam_args) == served


def test_unpickling_a_pool_in_its_process_returns_the_pool():
    with worker_pool.workers(1) as pool:
        assert pickle.loads(pickle.dumps(pool)) is pool


def test_a_task_in_this_process_runs_at_once():
    runner = worker_pool.InThisProcess()
    assert runner.submit(divmod, 7, 2).result() == (3, 1)
    with pytest.raises(ZeroDivisionError):
        runner.submit(divmod, 7, 0)


def test_a_killed_worker_is_explained():
    with (
        pytest.raises(WorkError, match=r"^a worker process was killed, most likely .* again$"),
        worker_pool.explain_crashes(),
        worker_pool.workers(1) as pool,
    ):
        pool.submit(signal.raise_signal, signal.SIGKILL).result(timeout=60)


def test_all_workers_are_watched_from_the_first_task_on(monkeypatch):
    monkeypatch.setattr(worker_pool, "num_cores", lambda: 4)
    with worker_pool.workers(4) as pool:
        first = pool.submit(os.getpid).result()
        watched = pool._executor._processes
        assert len(watched) == 4
        # The death of any of them ends the work.
        other = next(pid for pid in watched if pid != first)
        os.kill(other, signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            while True:
                pool.submit(os.getpid).result()

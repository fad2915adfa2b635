import os
import signal
import subprocess
import sys

import pytest

from pipeline.beam import worker_pool
from tests.conftest import ROOT

# What it prints comes from the workers themselves, so they hold its standard output as it does.
_HELD = """
import os, signal
from pipeline.beam import worker_pool

with worker_pool.workers(2):
    pids = {worker_pool.pool().submit(os.getpid).result() for _ in range(20)}
    worker_pool.pool().submit(os.write, 1, b"a worker writes here\\n").result()
    print(os.getpid(), *pids, flush=True)
    worker_pool.pool().submit(signal.pause)
    print("ready", flush=True)
    signal.pause()
"""


def test_workers_are_other_processes_while_the_body_runs():
    assert worker_pool.pool() is None
    with worker_pool.workers(2):
        pids = {worker_pool.pool().submit(os.getpid).result() for _ in range(20)}
        assert os.getpid() not in pids
        assert 0 < len(pids) <= len(os.sched_getaffinity(0))
    assert worker_pool.pool() is None
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core, one worker")
def test_two_of_them_work_at_once(tmp_path):
    # Opening a pipe waits until its other end is opened too.
    os.mkfifo(tmp_path / "pipe")
    with worker_pool.workers(2):
        ends = [
            worker_pool.pool().submit(os.open, tmp_path / "pipe", flags)
            for flags in (os.O_RDONLY, os.O_WRONLY)
        ]
        assert all(end.result(timeout=60) for end in ends)


def test_a_body_that_fails_leaves_no_workers():
    with pytest.raises(ZeroDivisionError), worker_pool.workers(2):
        pid = worker_pool.pool().submit(os.getpid).result()
        raise ZeroDivisionError
    assert worker_pool.pool() is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_body_that_needs_no_worker_ends_at_once():
    for _ in range(3):
        with worker_pool.workers(2):
            pass
    assert worker_pool.pool() is None


def test_a_workers_error_is_raised_here():
    with worker_pool.workers(2), pytest.raises(ValueError, match="invalid literal"):
        worker_pool.pool().submit(int, "x").result()


def test_ctrl_c_is_the_main_processs_to_handle():
    with worker_pool.workers(2):
        handlers = [
            worker_pool.pool().submit(signal.getsignal, number).result()
            for number in (signal.SIGINT, signal.SIGTERM)
        ]
    assert handlers == [signal.SIG_IGN, signal.SIG_DFL]


def test_workers_end_with_the_main_process_however_that_ends():
    with subprocess.Popen(
        [sys.executable, "-c", _HELD], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            lines = [process.stdout.readline() for _ in range(3)]
            assert lines[0] == "a worker writes here\n"
            main, *pids = map(int, lines[1].split())
            assert main == process.pid
            assert pids
            assert lines[2] == "ready\n"
            process.kill()
            # The end of the output comes when the last process is gone that could write to it.
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
def test_only_beams_runner_in_this_process_is_served(beam_args, served):
    assert worker_pool.serves(beam_args) == served

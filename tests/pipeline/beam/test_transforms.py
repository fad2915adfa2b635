import os
import signal
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor

import apache_beam as beam
import pytest

from components.base.errors import ConfigError, WorkError
from components.ingest import sorted_runs
from components.sources.prepared import PreparedSource
from components.sources.source import Slice
from components.sources.synthetic import SyntheticSource
from pipeline.beam import launch, transforms, worker_pool
from pipeline.beam.launch import run_tasks
from pipeline.beam.worker_pool import InThisProcess
from pipeline.prepare import workers
from pipeline.prepare.messages import ReadTask

BEAM_ARGS = [
    [],
    ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
    ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"],
]


def write_number(number: int, directory, factor: int) -> dict[str, int]:
    """Writes a file; returns counters, one of them only for odd numbers."""
    (directory / str(number)).write_text("done")
    return {"tasks": 1, "sum": factor * number} | ({"odd": 1} if number % 2 else {})


@pytest.mark.parametrize("beam_args", BEAM_ARGS, ids=["default", "threads", "portable"])
def test_every_task_runs_and_the_counters_add_up(beam_args, tmp_path):
    counted = run_tasks(range(1, 101), write_number, tmp_path, 3, beam_args=beam_args)
    assert counted == {"tasks": 100, "sum": 3 * 5050, "odd": 50}
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(1, 101))


def test_without_tasks_there_are_no_counters():
    assert run_tasks([], write_number) == {}


@pytest.mark.parametrize("beam_args", BEAM_ARGS, ids=["default", "threads", "portable"])
def test_very_many_tasks_are_joined_to_few_elements(beam_args, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "_MAX_ELEMENTS", 3)
    counted = run_tasks(range(1, 101), write_number, tmp_path, 3, beam_args=beam_args)
    assert counted == {"tasks": 100, "sum": 3 * 5050, "odd": 50}
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(1, 101))


def test_the_message_of_very_many_tasks_does_not_grow(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        launch, "_run", lambda p, *_, **__: sizes.append(p.to_runner_api().ByteSize())
    )
    monkeypatch.setattr(launch, "counters", lambda *_: {})
    for count in (100_000, 1_000_000):
        run_tasks(range(count), write_number)
    # The directory of this process is a part of the message, so its size varies a little.
    assert sizes[0] < sizes[1] < min(1.2 * sizes[0], 1_000_000)


@pytest.fixture
def few_running(monkeypatch) -> int:
    monkeypatch.setattr(transforms, "_MAX_RUNNING", 4)
    return 4


def test_no_more_tasks_are_submitted_than_a_machine_needs(few_running):
    """Without a bound, a bundle of 500,000 tasks would hold a gigabyte."""
    submitted: list[Future] = []
    may_end = threading.Event()

    class Recorder:
        def submit(self, function, *arguments):
            assert sum(not future.done() for future in submitted) < few_running
            future = executor.submit(lambda: may_end.wait() and {"tasks": 1})
            submitted.append(future)
            if len(submitted) == few_running:
                may_end.set()
            return future

    with ThreadPoolExecutor(1) as executor:
        run = transforms.RunTasks(write_number, task_runner=Recorder())
        run.start_bundle()
        run.process(range(2))
        run.process(range(100))
        run.finish_bundle()
    assert len(submitted) == 102
    assert all(future.done() for future in submitted)


def test_the_results_of_tasks_are_not_held(tmp_path):
    alive: weakref.WeakSet[Future] = weakref.WeakSet()

    class Recorder(InThisProcess):
        def submit(self, function, *arguments):
            assert len(alive) <= 1
            future = super().submit(function, *arguments)
            alive.add(future)
            return future

    run = transforms.RunTasks(write_number, tmp_path, 1, task_runner=Recorder())
    run.start_bundle()
    run.process(range(50))
    run.finish_bundle()
    assert len(list(tmp_path.iterdir())) == 50


def test_counters_of_other_transforms_are_ignored(tmp_path):
    def count_elsewhere(number):
        beam.metrics.Metrics.counter("elsewhere", "tasks").inc()
        return number

    with launch.pipeline([]) as p:
        tasks = p | beam.Create([[1], [2]]) | beam.Map(count_elsewhere)
        _ = tasks | beam.ParDo(
            transforms.RunTasks(write_number, tmp_path, 1, task_runner=InThisProcess())
        )
    assert launch.counters(p, transforms.COUNTERS) == {"tasks": 2, "sum": 3, "odd": 1}
    assert launch.counters(p, "elsewhere") == {"tasks": 2}


def test_tasks_run_in_the_worker_pool(tmp_path, monkeypatch):
    def fail(*arguments):
        raise AssertionError("a task ran in the main process")

    (tmp_path / workers.READ).mkdir()
    source = SyntheticSource(size=60)
    tasks = [ReadTask(number, 0, part) for number, part in enumerate(source.slices())]
    with worker_pool.workers(2) as pool:
        # Only in this process: workers are not forked from it.
        monkeypatch.setattr(sorted_runs, "write", fail)
        counted = run_tasks(tasks, workers.read_slice, [source], tmp_path, task_runner=pool)
        assert counted == {"read": 70}
        # Importing Beam would take each worker a second.
        imported = [
            pool.submit(eval, f"{name!r} in __import__('sys').modules").result()
            for name in (workers.__name__, "apache_beam")
        ]
        assert imported == [True, False]
    assert len(list((tmp_path / workers.READ).iterdir())) == 2


def test_an_error_in_the_worker_pool_is_the_same_as_in_this_process(tmp_path):
    (tmp_path / workers.READ).mkdir()
    source = PreparedSource(tmp_path / "nothing", validation_from_train=False)
    task = ReadTask(0, 0, Slice("train", "file", 0, 1))
    with pytest.raises(ConfigError, match="not a finished artifact") as here:
        run_tasks([task], workers.read_slice, [source], tmp_path)
    with worker_pool.workers(2) as pool, pytest.raises(ConfigError) as there:
        run_tasks([task], workers.read_slice, [source], tmp_path, task_runner=pool)
    assert str(there.value) == str(here.value)


def test_a_killed_worker_is_explained_in_one_line():
    with (
        worker_pool.workers(2) as pool,
        pytest.raises(WorkError, match=r"^a worker process was killed, most likely .* again$"),
    ):
        run_tasks([signal.SIGKILL], signal.raise_signal, task_runner=pool)


def test_a_task_for_a_killed_worker_is_explained_in_one_line():
    with worker_pool.workers(2) as pool:
        killed = pool.submit(signal.raise_signal, signal.SIGKILL)
        assert killed.exception(timeout=60)
        with pytest.raises(WorkError, match=r"^a worker process was killed"):
            run_tasks([1], os.getpgid, task_runner=pool)


def test_a_worker_changes_to_the_directory_of_the_launcher_if_it_has_it(tmp_path, monkeypatch):
    launcher, worker = tmp_path / "launcher", tmp_path / "worker"
    launcher.mkdir()
    worker.mkdir()
    monkeypatch.chdir(launcher)
    task = transforms.RunTasks(write_number, task_runner=InThisProcess())
    os.chdir(worker)
    task.setup()
    assert os.getcwd() == str(launcher)
    os.chdir(worker)
    launcher.rmdir()
    task.setup()
    assert os.getcwd() == str(worker)

import os
import signal

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from components.base.errors import ConfigError, WorkError
from components.ingest import sorted_runs
from components.model import embeddings
from components.sources.prepared import PreparedSource
from components.sources.source import Slice
from components.sources.synthetic import SyntheticSource
from pipeline.beam import launch, transforms, worker_pool
from pipeline.prepare import workers
from pipeline.prepare.messages import ReadTask

BEAM_ARGS = [
    [],
    ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
    ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"],
]


def tell(number: int, directory, factor: int) -> dict[str, int]:
    """A task's work: a file, and counts of which not all are there each time."""
    (directory / str(number)).write_text("done")
    return {"tasks": 1, "sum": factor * number} | ({"odd": 1} if number % 2 else {})


def do(tasks, function, *arguments, beam_args=()):
    with launch.pipeline(beam_args) as p:
        _ = p | beam.Create(tasks) | beam.ParDo(transforms.RunTask(function, *arguments))
    return launch.counters(p, transforms.COUNTERS)


@pytest.mark.parametrize("beam_args", BEAM_ARGS, ids=["default", "threads", "portable"])
def test_every_task_is_done_and_what_they_count_adds_up(beam_args, tmp_path):
    counted = do(range(1, 101), tell, tmp_path, 3, beam_args=beam_args)
    assert counted == {"tasks": 100, "sum": 3 * 5050, "odd": 50}
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(1, 101))


def test_no_task_counts_nothing():
    assert do([], tell) == {}


def test_counters_of_others_are_left_out(tmp_path):
    def count_elsewhere(number):
        beam.metrics.Metrics.counter("elsewhere", "tasks").inc()
        return number

    with launch.pipeline([]) as p:
        tasks = p | beam.Create([1, 2]) | beam.Map(count_elsewhere)
        _ = tasks | beam.ParDo(transforms.RunTask(tell, tmp_path, 1))
    assert launch.counters(p, transforms.COUNTERS) == {"tasks": 2, "sum": 3, "odd": 1}
    assert launch.counters(p, "elsewhere") == {"tasks": 2}


def test_where_there_are_workers_they_do_the_work(tmp_path, monkeypatch):
    def fail(*arguments):
        raise AssertionError("the main process works itself")

    (tmp_path / workers.READ).mkdir()
    source = SyntheticSource(size=60)
    tasks = [ReadTask(number, 0, part) for number, part in enumerate(source.slices())]
    with worker_pool.workers(2):
        # Here alone: workers are not forked from this process.
        monkeypatch.setattr(sorted_runs, "write", fail)
        assert do(tasks, workers.read_slice, [source], tmp_path) == {"read": 70}
    assert len(list((tmp_path / workers.READ).iterdir())) == 2


def test_an_error_in_a_worker_arrives_as_it_was(tmp_path):
    (tmp_path / workers.READ).mkdir()
    source = PreparedSource(tmp_path / "nothing", is_validation_cut=False)
    task = ReadTask(0, 0, Slice("train", "file", 0, 1))
    with pytest.raises(ConfigError, match="no finished artifact") as here:
        do([task], workers.read_slice, [source], tmp_path)
    with worker_pool.workers(2), pytest.raises(ConfigError) as there:
        do([task], workers.read_slice, [source], tmp_path)
    assert str(there.value) == str(here.value)


def test_a_worker_that_is_killed_is_one_line():
    with (
        worker_pool.workers(2),
        pytest.raises(WorkError, match=r"^a worker process was killed, most likely .* again$"),
    ):
        do([signal.SIGKILL], signal.raise_signal)


def test_tasks_given_to_workers_that_were_killed_are_one_line():
    with worker_pool.workers(2):
        killed = worker_pool.pool().submit(signal.raise_signal, signal.SIGKILL)
        assert killed.exception(timeout=60)
        with pytest.raises(WorkError, match=r"^a worker process was killed"):
            do([1], os.getpgid)


def test_a_shard_without_examples_is_named(model_dir, tmp_path):
    (tmp_path / "empty.tfrecord").touch()
    with (
        pytest.raises(WorkError, match=r"empty.tfrecord holds no examples"),
        launch.pipeline([]) as p,
    ):
        task = (str(tmp_path / "empty.tfrecord"), str(tmp_path / "empty.parquet"))
        _ = p | beam.Create([task]) | transforms.EmbedShards(model_dir)


def test_shards_are_embedded_and_counted(example_set, model_dir, tmp_path):
    tasks = [
        (str(example_set.path / file), str(tmp_path / f"{split}.parquet"))
        for split in example_set.splits
        for file, _ in example_set.shards[split]
    ]
    counts = [example_set.num_examples(split) for split in example_set.splits]
    with launch.pipeline([]) as p:
        embedded = p | beam.Create(tasks) | transforms.EmbedShards(model_dir)
        assert_that(embedded, equal_to(counts))
    for split in example_set.splits:
        assert list(embeddings.read(tmp_path / f"{split}.parquet").ids) == (
            example_set.read(split).ids
        )

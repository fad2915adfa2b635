import os
import signal
import threading

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState
from etils import epath

from components.base.errors import ConfigError, WorkError
from pipeline.beam import launch


def fail(error: Exception):
    raise error


@pytest.mark.parametrize("error", [WorkError("file x is damaged"), ConfigError("wrong")])
def test_a_workers_error_arrives_as_it_was(error):
    with pytest.raises(type(error), match=f"^{error}$"), launch.pipeline([]) as p:
        _ = p | beam.Create([1]) | beam.Map(lambda _: fail(error))


def test_a_full_disk_in_a_worker_is_one_line():
    error = OSError(28, "No space left on device")
    with pytest.raises(WorkError, match=r"^\[Errno 28\] No space left on device; mend"):  # noqa: SIM117
        with launch.pipeline([]) as p:
            _ = p | beam.Create([1]) | beam.Map(lambda _: fail(error))


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError, match="division by zero"), launch.pipeline([]) as p:
        _ = p | beam.Create([1]) | beam.Map(lambda x: x / 0)


def test_a_runner_given_is_used():
    with (
        pytest.raises(ConfigError, match=r"Beam options: .*NoSuchRunner"),
        launch.pipeline(["--runner=NoSuchRunner"]),
    ):
        pass


PORTABLE = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"]


@pytest.mark.parametrize("beam_args", [[], PORTABLE], ids=["in_memory", "portable"])
def test_a_remote_failure_in_a_worker_is_one_line(beam_args):
    with pytest.raises(WorkError) as caught, launch.pipeline(beam_args) as p:
        _ = p | beam.Create(["s3://bucket/x"]) | beam.Map(lambda x: epath.Path(x).exists())
    assert str(caught.value) == (
        "File system scheme 's3' not implemented (file: 's3://bucket/x'); "
        "install s3fs and set EPATH_USE_TF=false"
    )


def test_what_the_workers_counted_can_be_asked_for():
    with launch.pipeline([]) as p:
        count = beam.metrics.Metrics.counter("space", "name")
        _ = p | beam.Create([1, 2, 3]) | beam.Map(lambda x: count.inc(x))
    assert launch.counters(p, "space") == {"name": 6}
    assert launch.counters(p, "another") == {}


def test_a_signal_cancels_the_job():
    ended = threading.Event()

    def work(_):
        os.kill(os.getpid(), signal.SIGINT)
        ended.wait()

    try:
        with pytest.raises(KeyboardInterrupt), launch.pipeline(PORTABLE) as p:
            _ = p | beam.Create([1]) | beam.Map(work)
        assert p.result.state == PipelineState.CANCELLED
    finally:
        ended.set()


class Uncancellable(PipelineRunner):
    """A runner whose jobs wait for a signal, and that cannot cancel them."""

    def run_pipeline(self, pipeline, options: PipelineOptions) -> PipelineResult:
        result = PipelineResult(PipelineState.RUNNING)
        result.wait_until_finish = lambda: signal.raise_signal(signal.SIGINT)
        return result


def test_a_job_that_cannot_be_cancelled_does_not_hide_the_signal(monkeypatch):
    monkeypatch.setattr(launch, "_DEFAULT_RUNNER", f"{__name__}.{Uncancellable.__name__}")
    with pytest.raises(KeyboardInterrupt), launch.pipeline([]) as p:
        _ = p | beam.Create([1])

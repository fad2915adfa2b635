import os
import signal
import threading
from collections.abc import Iterator

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.local_job_service import LocalJobServicer
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState
from etils import epath

from components.base.errors import ConfigError, Stopped, WorkError
from pipeline.beam import launch
from tests import engines


def fail(error: Exception):
    raise error


def read(path: str) -> dict[str, int]:
    epath.Path(path).read_text()
    return {}


PORTABLE = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"]
RUNNERS = pytest.mark.parametrize("beam_args", [[], PORTABLE], ids=["in_memory", "portable"])


@RUNNERS
@pytest.mark.parametrize(
    "error",
    [WorkError("file x is damaged"), ConfigError("wrong"), Stopped('"SIGTERM": [ü]')],
    ids=str,
)
def test_a_user_error_of_a_worker_is_raised_unchanged(error, beam_args):
    with pytest.raises(type(error)) as caught:
        launch.run_tasks([error], fail, beam_args=beam_args)
    assert str(caught.value) == str(error)


def test_a_full_disk_in_a_worker_is_explained_in_one_line():
    error = OSError(28, "No space left on device")
    with pytest.raises(WorkError, match=r"^No space left on device: while writing; "):
        launch.run_tasks([error], fail)


def test_a_bug_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError, match="division or modulo by zero"):
        launch.run_tasks([(1, 0)], divide)


def divide(task: tuple[int, int]) -> dict[str, int]:
    return {"quotient": task[0] // task[1]}


@pytest.mark.parametrize("name", ["NoSuchRunner", "os.system", "json.JSONDecoder"])
def test_an_unknown_runner_is_an_error(name):
    with (
        pytest.raises(ConfigError, match=rf"Beam options: .*{name.rpartition('.')[2]}"),
        launch.pipeline([f"--runner={name}"]),
    ):
        pass


@RUNNERS
def test_a_remote_failure_in_a_worker_is_explained_in_one_line(beam_args):
    with pytest.raises(WorkError) as caught:
        launch.run_tasks(["s3://bucket/x"], read, beam_args=beam_args)
    assert str(caught.value) == (
        "File system scheme 's3' not implemented (file: 's3://bucket/x'); "
        "install s3fs and set EPATH_USE_TF=false"
    )


def test_counters_are_found_by_their_namespace():
    with launch.pipeline([]) as p:
        count = beam.metrics.Metrics.counter("space", "name")
        _ = p | beam.Create([1, 2, 3]) | beam.Map(lambda x: count.inc(x))
    assert launch.counters(p, "space") == {"name": 6}
    assert launch.counters(p, "another") == {}


# A global variable, which the worker thread finds by name. Beam pickles the closure of a function:
# an event in it would be a copy that nobody sets, and the thread would never end. It is not a
# daemon, so that this process would wait for it at its exit.
JOB_ENDED = threading.Event()


@pytest.fixture
def endless_jobs() -> Iterator[None]:
    """Jobs that wait for the end of the test."""
    JOB_ENDED.clear()
    yield
    JOB_ENDED.set()


def wait_for_the_end(_: int) -> None:
    JOB_ENDED.wait()


def interrupt_and_wait(_: int) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    JOB_ENDED.wait()


@pytest.mark.usefixtures("endless_jobs")
def test_a_signal_cancels_the_job():
    with pytest.raises(KeyboardInterrupt), launch.pipeline(PORTABLE) as p:
        _ = p | beam.Create([1]) | beam.Map(interrupt_and_wait)
    assert p.result.state == PipelineState.CANCELLED


class SignalWhileSubmitting(LocalJobServicer):
    """A job service that sends a signal to its client before it says which job it started."""

    def Run(self, request, context=None, timeout=None):  # noqa: N802 - the name of the request
        response = super().Run(request)
        os.kill(os.getpid(), signal.SIGINT)
        return response


def run_endless_job(address: str, **options: float) -> None:
    """Runs a job in this process, by a job service at an address."""
    beam_args = ["--runner=PortableRunner", f"--job_endpoint={address}"]
    with launch.pipeline([*beam_args, "--environment_type=LOOPBACK"], **options) as p:
        _ = p | beam.Create([1]) | beam.Map(wait_for_the_end)


@pytest.mark.usefixtures("endless_jobs")
def test_a_signal_while_a_job_is_submitted_cancels_it():
    with engines.local_job_service(SignalWhileSubmitting()) as address:
        with pytest.raises(KeyboardInterrupt):
            run_endless_job(address)
        assert engines.last_state(address) == "CANCELLED"


@pytest.mark.usefixtures("endless_jobs")
def test_a_job_that_takes_too_long_is_cancelled():
    with engines.local_job_service() as address:
        with pytest.raises(TimeoutError):
            run_endless_job(address, seconds=0.1)
        assert engines.last_state(address) == "CANCELLED"


class Uncancellable(PipelineRunner):
    """A runner that cannot cancel its jobs; they wait for a signal."""

    def run_pipeline(self, pipeline, options: PipelineOptions) -> PipelineResult:
        result = PipelineResult(PipelineState.RUNNING)
        result.wait_until_finish = lambda _: signal.raise_signal(signal.SIGINT)
        return result


def test_a_failure_to_cancel_does_not_hide_the_signal(monkeypatch):
    monkeypatch.setattr(launch, "_DEFAULT_RUNNER", f"{__name__}.{Uncancellable.__name__}")
    with pytest.raises(KeyboardInterrupt), launch.pipeline([]) as p:
        _ = p | beam.Create([1])


@pytest.mark.parametrize(
    ("beam_args", "message"),
    [
        (["--runer=FlinkRunner"], "unknown Beam option '--runer'; nearest: --runner"),
        (["--runner", "DataflowRunner", "--regio", "R"], "option '--regio'; nearest: --region"),
        (["stray"], "unknown Beam option 'stray'"),
        (["--help"], "unknown Beam option '--help'"),
        (["--direct_num_workers=x"], "--direct_num_workers: invalid int value: 'x'"),
        (["--direct_num_workers=-1"], "--direct_num_workers must be >= 0, not -1"),
        (["--runner"], "--runner: expected one argument"),
    ],
)
def test_an_unknown_option_is_refused(beam_args, message):
    with pytest.raises(ConfigError, match=message) as caught:
        launch.check_options(beam_args)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "beam_args",
    [
        [],
        PORTABLE,
        ["--direct_num_workers", "2", "--direct_running_mode=multi_processing"],
        ["--runner=FlinkRunner", "--flink_master=h:8081", "--environment_type=DOCKER",
         "--environment_config=IMAGE", "--parallelism", "2"],
        ["--runner=SparkRunner", "--spark_master_url=spark://h:7077"],
        ["--runner=DataflowRunner", "--project=P", "--region=R", "--temp_location=gs://B/tmp",
         "--setup_file=./pyproject.toml", "--max_num_workers=9", "--experiments=x"],
    ],
)  # fmt: skip
def test_known_options_pass(beam_args, capsys):
    launch.check_options(beam_args)
    assert capsys.readouterr().err == ""


def test_an_option_that_a_job_server_may_know_causes_a_warning(capsys):
    launch.check_options(["--runner=FlinkRunner", "--checkpointing_interval=9"])
    message = capsys.readouterr().err
    assert message.startswith("warning: unknown Beam option '--checkpointing_interval'")
    assert "FlinkRunner" in message

import logging
import os
import signal
import socket
from concurrent import futures

import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from components.base.errors import ConfigError, WorkError
from pipeline.beam import job_service, launch
from tests import engines


@pytest.mark.parametrize(
    ("beam_args", "expected"),
    [
        ([], None),
        (["--runner=PortableRunner", "--job_endpoint=embed"], None),
        (["--runner=PortableRunner", "--job_endpoint=host:8099"], "host:8099"),
    ],
)
def test_the_endpoint_is_that_of_another_process(beam_args, expected):
    assert job_service.endpoint(PipelineOptions(beam_args)) == expected


def refusal(address: str) -> str:
    """The one line for an address at which no job service answers."""
    with pytest.raises(WorkError) as caught:
        job_service.check(address, seconds=0.5)
    message = str(caught.value)
    assert message.startswith(f"no job service of Beam answers at {address} (")
    assert "\n" not in message
    return message


def test_a_refused_connection_is_one_line():
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
    assert "(UNAVAILABLE: " in refusal(address)


@pytest.mark.parametrize("port", [0, 65_536, 99_999])
def test_a_port_that_no_machine_has_is_refused(port):
    with pytest.raises(ConfigError, match=f"^--job_endpoint is localhost:{port}, but a port is a"):
        job_service.check(f"localhost:{port}")


def test_an_unknown_host_is_one_line():
    assert "(UNAVAILABLE: " in refusal("no-such-host.invalid:8099")


def test_a_service_that_never_answers_is_one_line():
    with socket.create_server(("localhost", 0)) as server:
        message = refusal(f"localhost:{server.getsockname()[1]}")
    assert "(DEADLINE_EXCEEDED: " in message


def test_another_service_is_one_line():
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("localhost:0")
    server.start()
    assert "(UNIMPLEMENTED: " in refusal(f"localhost:{port}")
    server.stop(None)


def test_a_job_service_passes_the_check():
    with engines.local_job_service() as address:
        job_service.check(address, seconds=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Pipeline job-2 failed in state FAILED: bundle inst002 stage-002 failed:SDK worker "
            "disconnected: worker[job-002[job]_ref_1], 2 active instructions, error: canceled",
            "a worker was lost (worker[job-002[job]_ref_1]): it was killed, ",
        ),
        (
            "Pipeline j failed in state CANCELLED:\n no more slots",
            "the job failed at the job service host:1: no more slots; run the same command again",
        ),
    ],
)
def test_a_job_that_did_not_fail_by_itself_is_explained_in_one_line(text, expected):
    error = job_service.explain(RuntimeError(text), "host:1")
    assert isinstance(error, WorkError)
    assert str(error).startswith(expected)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("failed: Traceback (most recent call last):\n  x\nKeyError: 1"), KeyError("x")],
    ids=["of a task", "of the driver"],
)
def test_a_bug_is_not_explained(error):
    assert job_service.explain(error, "host:1") is None


def test_the_last_line_names_the_cause():
    error = RuntimeError("Traceback (most recent call last):\n  x\nKeyError: 1\n\n")
    assert job_service.last_line(error) == "KeyError: 1"
    assert job_service.last_line(RuntimeError()) == "RuntimeError"


def kill(process: int) -> dict[str, int]:
    os.kill(process, signal.SIGKILL)
    return {}


def test_a_job_service_that_is_killed_is_one_line(tmp_path, capfd):
    with engines.local_job_service_process(tmp_path) as (address, process):
        beam_args = ["--runner=PortableRunner", f"--job_endpoint={address}"]
        beam_args.append("--environment_type=LOOPBACK")
        with pytest.raises(WorkError) as caught:
            launch.run_tasks([process], kill, beam_args=beam_args)
        with pytest.raises(WorkError, match=f"no job service of Beam answers at {address} "):
            launch.run_tasks([process], kill, beam_args=beam_args)
    message = str(caught.value)
    assert message.startswith(f"the job service at {address} does not answer any more (UNAVAILABLE")
    assert "\n" not in message
    assert capfd.readouterr().err == ""


def test_a_job_runs_longer_than_requests_may_take_and_logs_nothing(caplog):
    options = PipelineOptions(["--job_server_timeout=1"])
    job_service.prepare_waiting(options)
    assert options.get_all_options()["job_server_timeout"] > 30 * 24 * 60 * 60
    job_service.prepare_waiting(options)
    root = logging.getLogger()
    records = {
        name: root.makeRecord("root", logging.ERROR, f"/x/{name}.py", 1, "message", (), None)
        for name in ("portable_runner", "another")
    }
    for record in records.values():
        root.handle(record)
    assert records["another"] in caplog.records
    assert records["portable_runner"] not in caplog.records

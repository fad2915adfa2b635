"""An engine of Beam outside of this process: a job service, and workers at another address.

By default, these are Prism and Beam's worker pool on this machine. JOB_ENDPOINT, ENVIRONMENT and
ARTIFACTS name another job service, its worker pool, and a directory that all of them share.
"""

import contextlib
import dataclasses
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import apache_beam as beam
import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.portability.local_job_service import LocalJobServicer

from tests.conftest import ROOT, module_command
from tests.test_kills import has_ended

JOB_ENDPOINT = os.environ.get("JOB_ENDPOINT")
ARTIFACTS = os.environ.get("ARTIFACTS")
INSTALL = f"go install github.com/apache/beam/sdks/v2/go/cmd/prism@v{beam.__version__}"
POOL = "apache_beam.runners.worker.worker_pool_main"
_ENDPOINT = re.compile(r"localhost:\d+")


@functools.cache
def find_prism() -> str | None:
    """The program `prism`: $PRISM, or on PATH, or where `go install` puts it."""
    if given := os.environ.get("PRISM"):
        return given
    if found := shutil.which("prism"):
        return found
    folder = Path.home() / "go" / "bin"
    if go := shutil.which("go"):
        folder = Path(subprocess.check_output([go, "env", "GOPATH"], text=True).strip(), "bin")
    return shutil.which("prism", path=str(folder))


def require_prism() -> str:
    """The program `prism`; skips the test without it."""
    if JOB_ENDPOINT:
        pytest.skip(f"needs a job service of its own, not that of JOB_ENDPOINT ({JOB_ENDPOINT})")
    if (prism := find_prism()) is None:
        pytest.skip(f"no program named prism: {INSTALL}")
    return prism


@contextlib.contextmanager
def killed_at_end(process: subprocess.Popen) -> Iterator[None]:
    """Kills a process and its children at the end; it was started in a session of its own."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def prism(log: Path) -> Iterator[str]:
    """Prism on a free port; yields its address.

    Args:
      log: file for its messages.
    """
    command = [require_prism(), "-job_port=0", "-serve_http=false", "-log_kind=text"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    with killed_at_end(process):
        while not (found := _ENDPOINT.search(log.read_text())):
            assert not has_ended(process), log.read_text()
        yield found[0]


@dataclasses.dataclass
class ExternalWorkerPool:
    """Beam's worker pool in a process of its own.

    Attributes:
      process: the process; its children are the workers.
      address: where it listens.
    """

    process: subprocess.Popen
    address: str

    def workers(self) -> list[int]:
        """The numbers of the worker processes."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(number) for task in tasks for number in task.read_text().split()]


@contextlib.contextmanager
def external_worker_pool(
    log: Path,
    *,
    port: int = 0,
    directory: Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ExternalWorkerPool]:
    """Beam's worker pool, whose workers have the Python of this process.

    Args:
      log: file for its messages.
      port: where it listens; 0 for a free port.
      directory: its working directory, where its workers find the packages of this project.
      environment: environment variables; a PATH of another `python` is that of the workers.
    """
    port = port or int(unused_address().rpartition(":")[2])
    # The pool starts `python`, as its PATH has it.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with log.open("wb") as file:
        process = subprocess.Popen(
            module_command(POOL, "--service_port", port),
            cwd=directory,
            env=os.environ | {"PATH": path} | (environment or {}),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    address = f"localhost:{port}"
    with killed_at_end(process):
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=120)
        yield ExternalWorkerPool(process, address)


def unused_address() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("localhost", 0)) as server:
        return f"localhost:{server.getsockname()[1]}"


def beam_args(job_endpoint: str, environment: str) -> list[str]:
    """Beam's options for a job service and a worker pool."""
    return [
        "--runner=PortableRunner",
        f"--job_endpoint={job_endpoint}",
        "--environment_type=EXTERNAL",
        f"--environment_config={environment}",
    ]


def last_state(job_endpoint: str) -> str:
    """The state in which the last job of a job service ends; waits for the end."""
    state = beam_job_api_pb2.JobState.Enum.UNSPECIFIED
    with grpc.insecure_channel(job_endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        jobs = service.GetJobs(beam_job_api_pb2.GetJobsRequest(), timeout=60).job_info
        last = max(job.job_id for job in jobs)
        request = beam_job_api_pb2.GetJobStateRequest(job_id=last)
        for event in service.GetStateStream(request, timeout=60):
            state = event.state
    return beam_job_api_pb2.JobState.Enum.Name(state)


class CountlessJobService(LocalJobServicer):
    """A job service that passes on no counters."""

    def GetJobMetrics(self, request, context=None):  # noqa: N802 - the name of the request
        return beam_job_api_pb2.GetJobMetricsResponse()


@contextlib.contextmanager
def local_job_service(service: LocalJobServicer | None = None) -> Iterator[str]:
    """Beam's own job service, which runs jobs in this process; yields its address.

    Args:
      service: what answers the requests.
    """
    service = service or LocalJobServicer()
    port = service.start_grpc_server(0)
    try:
        yield f"localhost:{port}"
    finally:
        service.stop()


@contextlib.contextmanager
def local_job_service_process(directory: Path) -> Iterator[tuple[str, int]]:
    """Beam's own job service in another process; yields its address and the process's number.

    Args:
      directory: an empty directory.
    """
    port = directory / "port"
    module = "apache_beam.runners.portability.local_job_service_main"
    process = subprocess.Popen(
        module_command(module, "--port_file", port),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with killed_at_end(process):
        while not port.exists():
            assert not has_ended(process)
        yield f"localhost:{port.read_text()}", process.pid

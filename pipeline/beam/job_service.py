"""A job service of Beam: another process that runs jobs, such as Prism or Flink's job server."""

import functools
import logging
import re
import threading

import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from components.base import errors
from components.base.errors import ConfigError, WorkError

# The value of --job_endpoint that means a job service within this process.
_IN_THIS_PROCESS = "embed"
# Seconds that a job service may take to answer a request.
ANSWER_SECONDS = 45
# Seconds. Beam gives up waiting for a job after --job_server_timeout, by default five minutes.
_LONGEST_JOB = 365 * 24 * 60 * 60
# How Prism names a worker whose connection has ended.
_LOST_WORKER = re.compile(r"SDK worker disconnected: (worker\[.*?\]), ")
_LAST_PORT = 65_535
_TRACEBACK = "Traceback (most recent call last)"


def endpoint(options: PipelineOptions) -> str | None:
    """The address of the job service, HOST:PORT; None without one in a process of its own."""
    address = options.view_as(PortableOptions).job_endpoint
    return None if address in (None, "", _IN_THIS_PROCESS) else address


def check(address: str, seconds: float = ANSWER_SECONDS) -> None:
    """Checks that a job service answers.

    Args:
      address: its address, HOST:PORT.
      seconds: how long to wait for the answer.

    Raises:
      ConfigError: it has no such port.
      WorkError: it does not answer, or something else does.
    """
    port = address.rpartition(":")[2]
    # gRPC would take the lower 16 bits of a larger number.
    if port.isdecimal() and not 0 < int(port) <= _LAST_PORT:
        raise ConfigError(
            f"--job_endpoint is {address}, but a port is a number from 1 to {_LAST_PORT}"
        )
    with grpc.insecure_channel(address) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        # Beam sends this request before each job.
        request = beam_job_api_pb2.DescribePipelineOptionsRequest()
        try:
            service.DescribePipelineOptions(request, timeout=seconds)
        except grpc.RpcError as error:
            raise WorkError(
                f"no job service of Beam answers at {address} ({_reason(error)}); start it, or "
                "correct --job_endpoint"
            ) from error


def prepare_waiting(options: PipelineOptions) -> None:
    """Makes Beam wait for a job as long as it runs, and leave its errors to `explain`."""
    options.view_as(PortableOptions).job_server_timeout = _LONGEST_JOB
    logging.getLogger().addFilter(_is_not_of_a_job)
    _silence_lost_streams()


def explain(error: Exception, address: str) -> WorkError | None:
    """The error of a job that its service or a worker ended; None if the code of a task failed.

    Args:
      error: the error that Beam raised.
      address: the address of the job service.
    """
    if isinstance(error, grpc.RpcError):
        return WorkError(
            f"the job service at {address} does not answer any more ({_reason(error)}); when it "
            "does, run the same command again"
        )
    text = str(error)
    if lost := _LOST_WORKER.search(text):
        return WorkError(
            f"a worker was lost ({lost[1]}): it was killed, most likely because memory ran out, or "
            "its machine failed; run the same command again"
        )
    if not isinstance(error, RuntimeError) or _TRACEBACK in text:
        return None
    return WorkError(
        f"the job failed at the job service {address}: {last_line(error)}; run the same command "
        "again, and if it fails again, look into the logs of the job service and its workers"
    )


def last_line(error: Exception) -> str:
    """The last line of an error's message; if it is a traceback, this line names the cause."""
    lines = str(error).strip().splitlines()
    return errors.one_line(lines[-1] if lines else type(error).__name__, length=300)


def _reason(error: grpc.RpcError) -> str:
    """Why a request failed, on one line, such as `UNAVAILABLE: Connection refused`."""
    # A failed request is also a call, which has these methods.
    code, details = error.code(), error.details()
    return errors.one_line(f"{code.name}: {details}", length=200)


def _is_not_of_a_job(record: logging.LogRecord) -> bool:
    """A filter of the root logger that drops the messages of a job, which Beam writes to it."""
    return record.module != "portable_runner"


@functools.cache
def _silence_lost_streams() -> None:
    """Keeps Beam's threads that read from a job service from printing a traceback if it is lost."""
    previous = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if not issubclass(arguments.exc_type, grpc.RpcError):
            previous(arguments)

    threading.excepthook = hook

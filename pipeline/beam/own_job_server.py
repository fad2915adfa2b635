"""The job server that a command starts if its runner needs one and no --job_endpoint is given.

Beam would start one for each job, wait for it without end, and end it at Ctrl-C before the job is
cancelled. Here one server runs all jobs of a command, so that a signal finds it, and ends with this
process, even if that is killed.
"""

import contextlib
import re
import shutil
import subprocess
import tempfile
import time

import grpc
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
    StandardOptions,
)
from apache_beam.runners.portability.flink_runner import (
    MAGIC_HOST_NAMES,
    FlinkJarJobServer,
    FlinkRunner,
)
from apache_beam.runners.portability.job_server import SubprocessJobServer
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.portability.prism_runner import PrismJobServer, PrismRunner
from apache_beam.runners.portability.spark_runner import (
    LOCAL_MASTER_PATTERN,
    SparkJarJobServer,
    SparkRunner,
)
from apache_beam.runners.runner import PipelineRunner, create_runner

from components.base import stop_signals
from components.base.errors import ConfigError, one_line
from pipeline.beam import prerequisites
from pipeline.beam.job_service import ANSWER_SECONDS

# Runs a server until it ends, or until standard input is closed, as it is when the process at its
# other end dies; then removes the server's directory. The shell gives a background process no
# standard input, so the watcher reads a copy of it.
_SERVE = """
directory=$1; shift
exec 3<&0
"$@" 3<&- & server=$!
(cat <&3 > /dev/null; kill "$server") & watcher=$!
exec 3<&- 2> /dev/null
wait "$server"; status=$?
kill "$watcher"
rm -rf "$directory"
exit $status
"""
_SECONDS_TO_END = 5

# The addresses of the servers of this process, by the options of Beam; None for a runner that needs
# no server.
_addresses: dict[str, str | None] = {}
# They end when their input is closed, as it is when they are forgotten.
_running: list[subprocess.Popen] = []


def provide(options: PipelineOptions, seconds: float = ANSWER_SECONDS) -> None:
    """Adds the address of a job server to the options, if the runner needs one and has none.

    The server is started once for all equal options of this process.

    Args:
      options: options of Beam; they are changed.
      seconds: how long the server may take to start.

    Raises:
      ConfigError: there is no such runner, it lacks something, or the server does not start.
    """
    name = options.view_as(StandardOptions).runner
    portable = options.view_as(PortableOptions)
    if name is None or portable.job_endpoint:
        return
    try:
        runner = create_runner(name)
    except (ValueError, AttributeError, ImportError, TypeError) as error:
        raise ConfigError(f"Beam options: {one_line(error)}") from error
    if not isinstance(runner, PipelineRunner):
        # Beam creates whatever a name with dots leads to.
        raise ConfigError(f"Beam options: {name} is not a runner of Beam; correct --runner")
    key = repr(sorted(options.get_all_options(drop_default=True).items()))
    _add_defaults(runner, options)
    if key not in _addresses:
        server = _checked_server(runner, options)
        _addresses[key] = None if server is None else _start(server, options, seconds)
    portable.job_endpoint = _addresses[key]


def _add_defaults(runner: PipelineRunner, options: PipelineOptions) -> None:
    """Adds the options that Beam itself adds when it runs a job."""
    flink = options.view_as(FlinkRunnerOptions)
    if isinstance(runner, FlinkRunner):
        flink.flink_master = FlinkRunner.add_http_scheme(flink.flink_master)
    portable = options.view_as(PortableOptions)
    if _is_local(runner, options) and not portable.environment_type:
        portable.environment_type = "LOOPBACK"


def _is_local(runner: PipelineRunner, options: PipelineOptions) -> bool:
    """Whether the engine is a part of the job server, without a cluster."""
    if isinstance(runner, FlinkRunner):
        return options.view_as(FlinkRunnerOptions).flink_master in MAGIC_HOST_NAMES
    if isinstance(runner, SparkRunner):
        master = options.view_as(SparkRunnerOptions).spark_master_url
        return re.match(LOCAL_MASTER_PATTERN, master) is not None
    return isinstance(runner, PrismRunner)


def _checked_server(runner: PipelineRunner, options: PipelineOptions) -> SubprocessJobServer | None:
    """The job server of a runner, not started; None if the runner needs none.

    Raises:
      ConfigError: the runner lacks something.
    """
    is_local = _is_local(runner, options)
    if isinstance(runner, FlinkRunner):
        # With this option, Beam gives the jar to the cluster itself.
        submits_jar = options.view_as(FlinkRunnerOptions).flink_submit_uber_jar and not is_local
        if not submits_jar:
            prerequisites.check_java(options)
        if not is_local:
            prerequisites.check_flink_master(options)
        flink_server = FlinkJarJobServer(options)
        prerequisites.fetch_jar(flink_server, options, "--flink_job_server_jar")
        return None if submits_jar else flink_server
    if isinstance(runner, SparkRunner):
        submits_jar = options.view_as(SparkRunnerOptions).spark_submit_uber_jar
        if not submits_jar:
            prerequisites.check_java(options)
        prerequisites.check_spark_master(options)
        spark_server = SparkJarJobServer(options)
        prerequisites.fetch_jar(spark_server, options, "--spark_job_server_jar")
        return None if submits_jar else spark_server
    if isinstance(runner, PrismRunner):
        return PrismJobServer(options)
    if type(runner) is PortableRunner:
        raise ConfigError("PortableRunner needs a job service; pass --job_endpoint=HOST:PORT")
    return None


def _start(server: SubprocessJobServer, options: PipelineOptions, seconds: float) -> str:
    """Starts a job server, which ends with this process.

    Returns:
      Its address, HOST:PORT.

    Raises:
      ConfigError: it does not start within `seconds`.
    """
    prerequisites.check_port(options)
    directory = tempfile.mkdtemp(prefix="job-server-")
    # The server's own folders, too.
    vars(server)["_local_temp_root"] = directory
    try:
        with prerequisites.bounded_requests():
            command, address = server.subprocess_cmd_and_endpoint()
    except (RuntimeError, OSError, ValueError) as error:
        shutil.rmtree(directory)
        raise ConfigError(f"the job server cannot be started: {one_line(error)}") from error
    with tempfile.TemporaryFile() as log:
        with stop_signals.deferred():
            process = subprocess.Popen(
                ["sh", "-c", _SERVE, "job-server", directory, *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal goes to all processes of a command, but first its job must
                # be cancelled.
                start_new_session=True,
            )
        if not _answers(process, address, seconds):
            _end(process)
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            raise ConfigError(
                f"the job server that this command started has ended, or does not answer within "
                f"{seconds} seconds: {one_line(lines[-1] if lines else 'no message', length=300)} "
                f"(command: {one_line(' '.join(map(str, command)))})"
            )
    _running.append(process)
    return address


def _answers(process: subprocess.Popen, address: str, seconds: float) -> bool:
    """Waits until a server answers; returns whether it does before it ends or time is over."""
    deadline = time.monotonic() + seconds
    with grpc.insecure_channel(address) as channel:
        ready = grpc.channel_ready_future(channel)
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(grpc.FutureTimeoutError):
                ready.result(timeout=0.1)
                return True
        ready.cancel()
    return False


def _end(process: subprocess.Popen) -> None:
    """Ends a server by the end of its input, and waits for that."""
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_SECONDS_TO_END)

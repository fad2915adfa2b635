import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
)

from components.base.errors import ConfigError
from pipeline.beam import job_service, launch, own_job_server
from tests import engines
from tests.conftest import ROOT

# Takes the place of Java: Beam's job server in Python, at the port that the one in Java gets. It
# leaves its number and its arguments in a file.
_SERVER = f"""#!{sys.executable}
import json, os, pathlib, sys
from apache_beam.runners.portability import local_job_service_main
pathlib.Path(__file__).with_name(f"{{os.getpid()}}.json").write_text(json.dumps(sys.argv))
local_job_service_main.run(["-p", sys.argv[sys.argv.index("--job-port") + 1]])
"""
_CLIENT = """
import json, sys
from apache_beam.options.pipeline_options import PipelineOptions
from pipeline.beam import own_job_server
own_job_server.provide(PipelineOptions(json.loads(sys.argv[1])))
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def beam_args(tmp_path) -> Iterator[list[str]]:
    """Options that start a job server, which ends with the test."""
    yield java(tmp_path, _SERVER)
    while own_job_server._running:
        own_job_server._end(own_job_server._running.pop())


def java(directory: Path, script: str) -> list[str]:
    """Options of Flink's runner with a script in the place of Java."""
    program, jar = directory / "java", directory / "server.jar"
    program.write_text(script)
    program.chmod(0o755)
    jar.touch()
    options = [f"--job_server_java_launcher={program}", f"--flink_job_server_jar={jar}"]
    return ["--runner=FlinkRunner", *options]


def started(directory: Path) -> dict[int, list[str]]:
    """The servers that were started, by process number, with their arguments."""
    return {int(path.stem): json.loads(path.read_text()) for path in directory.glob("*.json")}


def provided(*beam_args: str) -> PipelineOptions:
    options = PipelineOptions(list(beam_args))
    own_job_server.provide(options)
    return options


def refusal(*beam_args: str) -> str:
    with pytest.raises(ConfigError) as caught:
        own_job_server.provide(PipelineOptions(list(beam_args)), seconds=0.5)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def count(task: int) -> dict[str, int]:
    return {"task": task}


def test_one_server_runs_all_jobs_of_a_process(beam_args, tmp_path):
    for _ in range(2):
        assert launch.run_tasks([1, 2], count, beam_args=beam_args) == {"task": 3}
    (arguments,) = started(tmp_path).values()
    assert arguments[1:3] == ["-jar", str(tmp_path / "server.jar")]
    # Flink is a part of the server, and the workers are threads of this process.
    assert arguments[3:5] == ["--flink-master", "[auto]"]
    assert provided(*beam_args).view_as(PortableOptions).environment_type == "LOOPBACK"


def test_a_server_ends_with_its_process_even_if_that_is_killed(beam_args, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _CLIENT, json.dumps(beam_args)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"\n"
    ((server, arguments),) = started(tmp_path).items()
    artifacts = Path(arguments[arguments.index("--artifacts-dir") + 1])
    assert artifacts.is_dir()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while Path(f"/proc/{server}").exists() or artifacts.parent.exists():
        os.sched_yield()


def test_a_server_that_ends_is_refused_with_what_it_said(tmp_path):
    message = refusal(*java(tmp_path, "#!/bin/sh\necho first; echo 'no memory' >&2; exit 1\n"))
    assert message.startswith(
        "the job server that this command started has ended, or does not answer within 0.5 "
        f"seconds: no memory (command: {tmp_path}/java -jar {tmp_path}/server.jar --flink-master "
    )


def test_a_server_that_does_not_answer_is_ended_and_refused(tmp_path):
    message = refusal(*java(tmp_path, "#!/bin/sh\nexec sleep 1000\n"))
    assert "does not answer within 0.5 seconds: no message (command: " in message
    assert own_job_server._running == []


def test_a_server_that_cannot_be_found_is_refused():
    message = refusal("--runner=PrismRunner", "--prism_location=/no/such/prism")
    assert message.startswith("the job server cannot be started: Unable to parse binary URL ")


def test_a_port_that_is_taken_is_refused(tmp_path):
    with engines.local_job_service() as address:
        port = address.partition(":")[2]
        message = refusal(*java(tmp_path, _SERVER), f"--job_port={port}")
    assert message.startswith(f"the port {port} is not free (Address already in use); choose ")
    assert started(tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--runner=PortableRunner"], "PortableRunner needs a job service; pass --job_endpoint="),
        (["--runner=NoSuchRunner"], "Beam options: Unexpected pipeline runner: NoSuchRunner."),
        (["--runner=spark", "--job_server_java_launcher=no-java"], "the runner starts a job ser"),
        (
            ["--runner=SparkRunner", f"--spark_master_url=spark://{engines.unused_address()}"],
            "no Spark cluster answers at spark://localhost:",
        ),
        (
            ["--runner=FlinkRunner", f"--flink_master={engines.unused_address()}"],
            "no Flink cluster answers at http://localhost:",
        ),
        (
            ["--runner=FlinkRunner", "--flink_master=localhost:1", "--flink_submit_uber_jar"],
            "no Flink cluster answers at http://localhost:1/v1/config (",
        ),
        (["--runner=SparkRunner", "--spark_submit_uber_jar"], "--spark_submit_uber_jar needs --"),
        (["--runner=SparkRunner", "--spark_job_server_jar=/no/jar"], "--spark_job_server_jar: "),
    ],
)
def test_a_runner_that_lacks_something_is_refused(options, expected):
    # Java itself is not needed before these checks.
    assert refusal("--job_server_java_launcher=sh", *options).startswith(expected)


@pytest.mark.parametrize(
    "beam_args",
    [
        [],
        ["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"],
        ["--runner=PortableRunner", "--job_endpoint=embed"],
        ["--runner=FlinkRunner", "--job_endpoint=host:8099"],
    ],
)
def test_other_runners_get_no_server(beam_args):
    before = job_service.endpoint(PipelineOptions(beam_args))
    assert job_service.endpoint(provided(*beam_args)) == before


def test_the_workers_of_a_cluster_are_not_threads_of_this_process():
    options = PipelineOptions(["--flink_master=host:8081"])
    own_job_server._add_defaults(own_job_server.FlinkRunner(), options)
    assert options.view_as(FlinkRunnerOptions).flink_master == "http://host:8081"
    assert options.view_as(PortableOptions).environment_type is None

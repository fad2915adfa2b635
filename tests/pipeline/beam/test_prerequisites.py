import contextlib
import gc
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.flink_runner import FlinkJarJobServer

from components.base.errors import ConfigError
from pipeline.beam import prerequisites
from tests.engines import unused_address

JAR_OPTION = "--flink_job_server_jar"
# `urllib` leaves the socket of a request that times out to the garbage collector, which these tests
# call.
times_out = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@contextlib.contextmanager
def http_server(answers: dict[str, bytes], status: int = 404) -> Iterator[str]:
    """A web server that answers with `status` where it has nothing else; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in answers else status)
            self.end_headers()
            self.wfile.write(answers.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            """Prints nothing."""

    with ThreadingHTTPServer(("localhost", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def refused() -> Iterator[list[str]]:
    """The message of the ConfigError that the body raises, in a list."""
    message: list[str] = []
    with pytest.raises(ConfigError) as caught:
        yield message
    message.append(str(caught.value))
    assert "\n" not in message[0]


def flink(version: str) -> dict[str, bytes]:
    return {"/v1/config": json.dumps({"flink-version": version}).encode()}


def flink_options(master: str, *others: str) -> PipelineOptions:
    return PipelineOptions([f"--flink_master={master}", *others])


def test_java_is_needed(monkeypatch, tmp_path):
    program = tmp_path / "java"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    prerequisites.check_java(PipelineOptions())
    program.unlink()
    with refused() as message:
        prerequisites.check_java(PipelineOptions())
    assert "there is no program 'java'; install Java, " in message[0]


def fetch_jar(*options: str) -> None:
    parsed = PipelineOptions(list(options))
    prerequisites.fetch_jar(FlinkJarJobServer(parsed), parsed, JAR_OPTION)


def test_a_jar_on_this_machine_is_taken(tmp_path, capsys):
    jar = tmp_path / "server.jar"
    jar.touch()
    fetch_jar(f"{JAR_OPTION}={jar}")
    fetch_jar(f"{JAR_OPTION}=http://no-such-host.invalid/server.jar", f"--jar_cache_dir={tmp_path}")
    assert capsys.readouterr().err == ""


def test_a_jar_that_is_not_there_is_refused(tmp_path):
    with refused() as message:
        fetch_jar(f"{JAR_OPTION}={tmp_path}/server.jar")
    assert message[0].startswith(f'{JAR_OPTION}: Unable to parse jar URL "{tmp_path}/server.jar"')


def test_a_jar_is_downloaded_once(tmp_path, capsys):
    with http_server({"/server.jar": b"jar"}) as address:
        options = (f"{JAR_OPTION}={address}/server.jar", f"--jar_cache_dir={tmp_path}")
        fetch_jar(*options)
    assert (tmp_path / "server.jar").read_bytes() == b"jar"
    assert capsys.readouterr().err == (
        f"downloading {address}/server.jar to {tmp_path}/server.jar\n"
    )
    fetch_jar(*options)
    assert capsys.readouterr().err == ""


def test_a_jar_that_cannot_be_downloaded_is_refused(tmp_path):
    with http_server({}) as address, refused() as message:
        fetch_jar(f"{JAR_OPTION}={address}/server.jar", f"--jar_cache_dir={tmp_path}")
    assert message[0].startswith(
        f"the jar of the job server cannot be downloaded from {address}/server.jar (Not Found); "
        f"put it at {tmp_path}/server.jar, pass its path as {JAR_OPTION}, or start a job server"
    )


@times_out
def test_a_download_that_stops_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(prerequisites, "_SECONDS", 0.2)
    previous = socket.getdefaulttimeout()
    with socket.create_server(("localhost", 0)) as server, refused() as message:
        url = f"http://localhost:{server.getsockname()[1]}/server.jar"
        fetch_jar(f"{JAR_OPTION}={url}", f"--jar_cache_dir={tmp_path}")
    assert "(timed out); put it at " in message[0]
    assert socket.getdefaulttimeout() == previous
    gc.collect()


def test_a_port_must_be_free():
    prerequisites.check_port(PipelineOptions())
    with socket.create_server(("localhost", 0)) as server, refused() as message:
        port = server.getsockname()[1]
        prerequisites.check_port(PipelineOptions([f"--job_port={port}"]))
    assert message[0].startswith(f"the port {port} is not free (Address already in use); choose")
    prerequisites.check_port(PipelineOptions([f"--job_port={port}"]))


def test_a_flink_cluster_of_the_version_of_the_job_server_passes():
    with http_server(flink("1.20.5")) as address:
        prerequisites.check_flink_master(flink_options(address, "--flink_version=1.20"))
        prerequisites.check_flink_master(flink_options(address, f"{JAR_OPTION}=own.jar"))
        with refused() as message:
            prerequisites.check_flink_master(flink_options(address, "--flink_version=2.1"))
    assert message[0] == (
        f"the Flink cluster at {address} has version 1.20, but the job server is for 2.1; pass "
        "--flink_version=1.20"
    )


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[]", b'{"flink-version": "unknown"}'])
def test_what_answers_must_be_a_flink_cluster(answer):
    with http_server({"/v1/config": answer}) as address, refused() as message:
        prerequisites.check_flink_master(flink_options(address))
    assert message[0] == f"what answers at {address} is no Flink cluster; correct --flink_master"


def test_a_flink_cluster_that_asks_for_a_password_may_be_right():
    with http_server({}, status=401) as address:
        prerequisites.check_flink_master(flink_options(address))


@times_out
def test_a_flink_cluster_must_answer(monkeypatch):
    # A proxy to the internet is not asked.
    monkeypatch.setenv("http_proxy", "http://no-such-host.invalid:1")
    address = f"http://{unused_address()}"
    with refused() as message:
        prerequisites.check_flink_master(flink_options(address))
    assert message[0] == (
        f"no Flink cluster answers at {address}/v1/config ([Errno 111] Connection refused); start "
        "it, or correct --flink_master"
    )
    monkeypatch.setattr(prerequisites, "_SECONDS", 0.2)
    with socket.create_server(("localhost", 0)) as server, refused() as message:
        silent = f"http://localhost:{server.getsockname()[1]}"
        prerequisites.check_flink_master(flink_options(silent))
    assert f"answers at {silent}/v1/config (timed out); " in message[0]
    gc.collect()


def test_a_spark_cluster_must_answer_at_one_of_its_addresses():
    nothing = unused_address()
    with socket.create_server(("localhost", 0)) as server:
        masters = f"spark://{nothing},localhost:{server.getsockname()[1]}"
        prerequisites.check_spark_master(PipelineOptions([f"--spark_master_url={masters}"]))
    with refused() as message:
        prerequisites.check_spark_master(PipelineOptions([f"--spark_master_url={masters}"]))
    assert message[0].startswith(f"no Spark cluster answers at {masters} ([Errno 111] Connection")


@pytest.mark.parametrize("master", ["local[4]", "yarn", "k8s://https://host:443"])
def test_a_spark_master_without_an_address_of_its_own_is_not_asked(master):
    prerequisites.check_spark_master(PipelineOptions([f"--spark_master_url={master}"]))


def test_a_jar_for_spark_needs_the_address_of_a_cluster():
    with refused() as message:
        prerequisites.check_spark_master(PipelineOptions(["--spark_submit_uber_jar"]))
    assert message[0] == "--spark_submit_uber_jar needs --spark_rest_url=http://HOST:PORT"
    url = f"http://{unused_address()}"
    with refused() as message:
        options = ["--spark_submit_uber_jar", f"--spark_rest_url={url}"]
        prerequisites.check_spark_master(PipelineOptions(options))
    assert message[0].startswith(f"no Spark cluster answers at {url} (")

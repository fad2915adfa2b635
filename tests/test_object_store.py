"""The pipeline on a real S3 server, moto's, which commands in processes of their own talk to.

`pip install 'moto[server]' s3fs` for these tests.
"""

import dataclasses
import os
import re
import signal
import subprocess
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, module_command

boto3 = pytest.importorskip("boto3", reason="moto[server] is not installed")
werkzeug_app = pytest.importorskip("moto.moto_server.werkzeug_app")
serving = pytest.importorskip("werkzeug.serving")
pytest.importorskip("s3fs")

BUCKET = "bucket"
RUNS = f"s3://{BUCKET}/runs"
EXAMPLES, MODEL = f"{RUNS}/examples", f"{RUNS}/model"
DATASET = ("--dataset", "synthetic_garments", "--synthetic_size")
PREPARE = (*DATASET, 5000, "--shard_bytes", 1_000_000)


@dataclasses.dataclass
class Server:
    """An S3 server that counts its requests, and that can kill who makes one.

    Attributes:
      url: its address.
      requests: the number of requests by method and key.
      copies: keys that were made by copying an object, of which a rename consists.
      deadly: the process group that makes a request whose method and key match is killed, and the
        request is not served; None for no such request.
    """

    url: str = ""
    requests: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    copies: list[str] = dataclasses.field(default_factory=list)
    deadly: re.Pattern[str] | None = None
    _process: subprocess.Popen | None = None

    def wrap(self, application: Callable[..., Any]) -> Callable[..., Any]:
        """The WSGI application that does this, and then what another one does."""

        def serve(environ: dict[str, Any], start_response: Any) -> Any:
            method, key = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix("/bucket/")
            if self.deadly and self.deadly.search(f"{method} {key}") and self._process:
                os.killpg(self._process.pid, signal.SIGKILL)
                self.deadly = None
                start_response("503 Service Unavailable", [])
                return []
            self.requests[method, key] += 1
            if "HTTP_X_AMZ_COPY_SOURCE" in environ:
                self.copies.append(key)
            return application(environ, start_response)

        return serve

    def run(self, module: str, *arguments: object) -> subprocess.CompletedProcess:
        """Runs a command to its end, or until it makes the deadly request."""
        process = subprocess.Popen(
            module_command(module, *arguments),
            cwd=ROOT,
            env=os.environ | {"EPATH_USE_TF": "false", "AWS_ENDPOINT_URL": self.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._process = process
        output = process.communicate(timeout=240)
        self._process = None
        return subprocess.CompletedProcess(process.args, process.returncode, *output)

    def run_until(self, deadly: str, *command: object) -> None:
        """Runs a command that is killed when it makes a certain request."""
        self.deadly = re.compile(deadly)
        result = self.run(*command)
        assert result.returncode == -signal.SIGKILL, result.stderr

    def succeed(self, *command: object) -> str:
        """Runs a command that succeeds; returns what it says."""
        result = self.run(*command)
        assert result.returncode == 0, result.stderr
        return result.stderr

    def contents(self, directory: str) -> dict[str, bytes]:
        """The objects below a directory by the rest of their keys."""
        client = boto3.client("s3", endpoint_url=self.url)
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"runs/{directory}/"
        )
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return {
            key.removeprefix(f"runs/{directory}/"): client.get_object(Bucket=BUCKET, Key=key)[
                "Body"
            ].read()
            for key in keys
        }


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """A server with an empty bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = Server()
    application = werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app)
    http = serving.make_server("127.0.0.1", 0, server.wrap(application), threaded=True)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    # The servers of one process share their buckets.
    urllib.request.urlopen(f"{server.url}/moto-api/reset", data=b"").close()
    boto3.client("s3", endpoint_url=server.url).create_bucket(Bucket=BUCKET)
    yield server
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture(scope="module")
def local_files(tmp_path_factory) -> dict[str, bytes]:
    """What prepare writes to a local directory."""
    directory = tmp_path_factory.mktemp("local") / "examples"
    subprocess.run(
        module_command("pipeline", "prepare", *PREPARE, "--output", directory),
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return outputs(
        {str(path.relative_to(directory)): path.read_bytes() for path in files_below(directory)}
    )


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def outputs(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The files of an artifact except its manifest, which holds times."""
    assert "manifest.json" in contents
    return {name: content for name, content in contents.items() if name != "manifest.json"}


def test_prepare_writes_each_object_once_and_copies_none(server, local_files):
    command = ("pipeline", "prepare", *PREPARE, "--output", EXAMPLES)
    server.succeed(*command)
    assert outputs(server.contents("examples")) == local_files
    assert len([name for name in local_files if ".tfrecord-" in name]) > 4
    for name in (*local_files, "manifest.json", "plan.json"):
        assert server.requests["PUT", f"runs/examples/{name}"] == 1, name
    assert server.copies == []
    assert "up to date" in server.succeed(*command)


@pytest.mark.parametrize("deadly", ["PUT .*/read/000001.json", "PUT .*-train.tfrecord-00002"])
def test_prepare_that_is_killed_is_continued(server, local_files, deadly):
    command = ("pipeline", "prepare", *PREPARE, "--output", EXAMPLES)
    server.run_until(deadly, *command)
    reader = server.run("trainer", "--examples", EXAMPLES, "--output", MODEL)
    assert reader.returncode == 2
    assert f"{EXAMPLES} is not a finished artifact" in reader.stderr
    assert "continuing the work of an earlier run" in server.succeed(*command)
    assert outputs(server.contents("examples")) == local_files
    assert server.copies == []


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "deadly",
    [
        "POST",
        pytest.param("PUT .*-train.tfrecord-00000", marks=SLOW),
        pytest.param("PUT .*/manifest.json", marks=SLOW),
    ],
)
def test_replacing_an_artifact_that_is_killed_is_continued(server, local_files, deadly):
    server.succeed("pipeline", "prepare", *DATASET, 700, "--output", EXAMPLES)
    command = ("pipeline", "prepare", *PREPARE, "--output", EXAMPLES, "--overwrite")
    server.run_until(deadly, *command)
    server.succeed(*command)
    assert outputs(server.contents("examples")) == local_files
    assert server.copies == []


@pytest.mark.slow
def test_a_model_is_trained_resumed_extended_evaluated_and_applied(server):
    server.succeed("pipeline", "prepare", *DATASET, 600, "--output", EXAMPLES)
    train = ("trainer", "--examples", EXAMPLES, "--output", MODEL, "--preset", "mlp")
    train = (*train, "--widths", 16, "--batch_size", 50, "--epochs")
    server.run_until("PUT .*/step-000000022.ckpt", *train, 3)
    assert "manifest.json" not in server.contents("model")
    assert "train: resuming from step 11" in server.succeed(*train, 3)
    assert "train: resuming from step 33" in server.succeed(*train, 4, "--extend")
    assert server.contents("model.draft") == {}
    inputs = ("--model", MODEL, "--examples", EXAMPLES)
    server.succeed("pipeline", "evaluate", *inputs, "--output", f"{RUNS}/evaluation")
    assert "report.html" in server.contents("evaluation")
    embed = (
        "pipeline",
        "embed",
        "--model",
        MODEL,
        "--input",
        EXAMPLES,
        "--output",
        f"{RUNS}/embed",
    )
    server.run_until("PUT .*/synthetic_garments-train.*.parquet", *embed)
    assert "manifest.json" not in server.contents("embed")
    server.succeed(*embed)
    assert len(outputs(server.contents("embed"))) == 3
    assert server.copies == []

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.portability.api import beam_job_api_pb2
from apache_beam.runners.portability.local_job_service import LocalJobServicer
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from pipeline.apply.embed import embed

from components.base.errors import ConfigError
from pipeline.beam import handshake, probe
from pipeline.denoise.stage import denoise
from pipeline.prepare.stage import prepare
from tests import engines
from tests.conftest import ROOT, tiny_prepare_config


@pytest.fixture
def pool() -> Iterator[str]:
    """The address of a pool that starts `python` for each worker."""
    address, server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
    yield address
    server.stop(None)


@pytest.fixture
def beam_args(pool) -> Iterator[list[str]]:
    """Options of a job service with the pool."""
    with engines.local_job_service() as address:
        yield engines.beam_args(address, pool)


def refusal(beam_args: list[str]) -> str:
    with pytest.raises(ConfigError) as caught:
        handshake.check_workers(beam_args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def use_python(monkeypatch, tmp_path) -> Callable[[str], None]:
    """Returns a function that puts a program named `python` first on PATH."""

    def use(script: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return use


@pytest.fixture
def same_workers(use_python, monkeypatch) -> None:
    """Workers of this Python, with this code."""
    use_python(f'exec "{sys.executable}" "$@"')
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("beam_args", [[], ["--runner=PortableRunner", "--job_endpoint=embed"]])
def test_workers_of_this_process_are_not_asked(beam_args):
    handshake.check_workers(beam_args)


def test_the_job_service_is_asked_before_workers_of_this_process():
    with engines.local_job_service() as address:
        loopback = ["--runner=PortableRunner", "--environment_type=LOOPBACK"]
        handshake.check_workers([*loopback, f"--job_endpoint={address}"])
    message = refusal([*loopback, f"--job_endpoint={address}", "--job_server_timeout=1"])
    assert message.startswith(f"no job service of Beam answers at {address} (")


@pytest.mark.usefixtures("same_workers")
def test_workers_with_the_same_versions_pass_and_are_asked_once(pool):
    service = LocalJobServicer()
    with engines.local_job_service(service) as address:
        for _ in range(2):
            handshake.check_workers(engines.beam_args(address, pool))
        jobs = service.GetJobs(beam_job_api_pb2.GetJobsRequest()).job_info
    assert len(jobs) == 1


@pytest.mark.usefixtures("same_workers")
def test_an_engine_that_passes_on_no_counters_is_not_taken_for_other_versions(pool):
    with engines.local_job_service(engines.CountlessJobService()) as address:
        message = refusal(engines.beam_args(address, pool))
    assert "small job (the engine has not passed on what it counted); check that" in message


def test_workers_without_the_code_are_refused(beam_args, use_python, monkeypatch, tmp_path):
    use_python(f'exec "{sys.executable}" "$@"')
    monkeypatch.chdir(tmp_path)
    pool = beam_args[-1].partition("=")[2]
    code = probe.versions([])["vae-pipeline"]
    assert refusal(beam_args) == (
        f"the workers of {pool} have vae-pipeline not installed, but this command has "
        f"vae-pipeline {code}; install the same on both"
    )


def test_workers_that_do_not_answer_are_refused(beam_args, use_python):
    use_python("exit 1")
    pool = beam_args[-1].partition("=")[2]
    message = refusal([*beam_args, "--job_server_timeout=2"])
    assert message.startswith(
        f"the workers of {pool} cannot run a small job (none answered within 2 seconds; "
        "--job_server_timeout allows more); check that workers run there that have Python 3."
    )
    assert message.index(f"apache-beam {beam.__version__}")


def test_workers_that_fail_are_refused(beam_args, use_python, monkeypatch, tmp_path):
    # A probe by its name, which cannot be loaded without the code.
    monkeypatch.setattr(probe.Probe, "__reduce__", lambda self: (probe.probe, ([],)))
    use_python(f'exec "{sys.executable}" "$@"')
    monkeypatch.chdir(tmp_path)
    message = refusal(beam_args)
    assert "cannot run a small job (ModuleNotFoundError: No module named 'pipeline'" in message
    assert "); check that workers run there that have Python 3." in message


def test_a_stage_that_is_up_to_date_asks_no_engine(examples_dir, model_dir, tmp_path, capsys):
    def run_stages(beam_args: list[str]) -> None:
        arguments = {"model": model_dir, "pattern": str(examples_dir), "beam_args": beam_args}
        prepare(tiny_prepare_config(), output=examples_dir, beam_args=beam_args)
        embed(output=tmp_path / "embeddings", **arguments)
        denoise(output=tmp_path / "denoised", **arguments)

    run_stages([])
    capsys.readouterr()
    run_stages(["--runner=PortableRunner", "--job_endpoint=no-such-host.invalid:1"])
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        f"{stage}: up to date" for stage in ("prepare", "embed", "denoise")
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--runner=FlinkRunner", "--job_server_java_launcher=no-java"], "no program 'no-java'; "),
        (["--runner=DataflowRunner"], "Missing required option: project."),
        (["--runner=PortableRunner"], "pass --job_endpoint=HOST:PORT"),
    ],
)
def test_a_runner_that_lacks_something_is_refused_before_any_work(
    options, expected, cli, tmp_path: Path
):
    output = tmp_path / "examples"
    ended = cli("pipeline", "prepare", "--dataset", "synthetic_garments", "--output", output,
                "--", *options)  # fmt: skip
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert expected in line
    assert list(tmp_path.glob("examples*")) == []

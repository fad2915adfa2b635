import os
import sys
from collections.abc import Callable, Iterator

import apache_beam as beam
import pytest
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

from components.base.errors import ConfigError
from pipeline.beam import handshake, probe
from tests import engines
from tests.conftest import ROOT


@pytest.fixture
def beam_args() -> Iterator[list[str]]:
    """Options of a job service with a pool that starts `python` for each worker."""
    pool, server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
    with engines.local_job_service() as address:
        yield engines.beam_args(address, pool)
    server.stop(None)


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


@pytest.mark.parametrize("beam_args", [[], ["--runner=PortableRunner", "--job_endpoint=embed"]])
def test_workers_of_this_process_are_not_asked(beam_args):
    handshake.check_workers(beam_args)


def test_the_job_service_is_asked_before_workers_of_this_process():
    with engines.local_job_service() as address:
        loopback = ["--runner=PortableRunner", "--environment_type=LOOPBACK"]
        handshake.check_workers([*loopback, f"--job_endpoint={address}"])
    message = refusal([*loopback, f"--job_endpoint={address}", "--job_server_timeout=1"])
    assert message.startswith(f"no job service of Beam answers at {address} (")


def test_workers_with_the_same_versions_pass(beam_args, use_python, monkeypatch):
    use_python(f'exec "{sys.executable}" "$@"')
    monkeypatch.chdir(ROOT)
    handshake.check_workers(beam_args)


def test_workers_without_the_code_are_refused(beam_args, use_python, monkeypatch, tmp_path):
    use_python(f'exec "{sys.executable}" "$@"')
    monkeypatch.chdir(tmp_path)
    pool = beam_args[-1].partition("=")[2]
    code = probe.versions()["vae-pipeline"]
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
    monkeypatch.setattr(probe.Probe, "__reduce__", lambda self: (probe.probe, ()))
    use_python(f'exec "{sys.executable}" "$@"')
    monkeypatch.chdir(tmp_path)
    message = refusal(beam_args)
    assert "cannot run a small job (ModuleNotFoundError: No module named 'pipeline'" in message
    assert "); check that workers run there that have Python 3." in message

"""An engine that cannot do the work: one line before any work, each fault by really failing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest

from pipeline.beam import probe
from tests import engines
from tests.conftest import ROOT, module_command

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

# A Python with another version of Beam, which has this project, but maybe no other package.
OTHER_PYTHON = os.environ.get("OTHER_PYTHON")
CODE = probe.versions([])["vae-pipeline"]
PREPARE = ("prepare", "--dataset", "synthetic_garments", "--synthetic_size", 600)
# A worker imports this module first.
ANOTHER_BEAM = "import apache_beam\napache_beam.__version__ = '2.76.0'\n"


@pytest.fixture
def job_endpoint(tmp_path) -> Iterator[str]:
    """The address of a job service that reaches the workers of a test, on this machine."""
    if not (given := engines.JOB_ENDPOINT):
        with engines.prism(tmp_path / "prism.log") as address:
            yield address
        return
    if not given.startswith("localhost:"):
        pytest.skip(f"the workers of this test are on this machine, and not those of {given}")
    yield given


def refusal(
    job_endpoint: str,
    environment: str,
    output: Path,
    *options: str,
    command: Sequence[object] = PREPARE,
) -> str:
    """The line with which a command refuses an engine; it ends within a minute."""
    beam_args = (*engines.beam_args(job_endpoint, environment), *options)
    ended = subprocess.run(
        module_command("pipeline", *command, "--output", output, "--", *beam_args),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert list(output.parent.glob(f"{output.name}*")) == []
    return line


def test_no_job_service(tmp_path):
    address = engines.unused_address()
    line = refusal(address, engines.unused_address(), tmp_path / "examples")
    assert line.startswith(f"error: no job service of Beam answers at {address} (UNAVAILABLE: ")
    assert line.endswith("; start it, or correct --job_endpoint")


def test_a_worker_pool_instead_of_a_job_service(tmp_path):
    with engines.external_worker_pool(tmp_path / "pool.log") as pool:
        line = refusal(pool.address, pool.address, tmp_path / "examples")
    assert line.startswith(
        f"error: no job service of Beam answers at {pool.address} (UNIMPLEMENTED"
    )


def test_no_worker_pool(job_endpoint, tmp_path):
    address = engines.unused_address()
    line = refusal(job_endpoint, address, tmp_path / "examples")
    assert line.startswith(f"error: the workers of {address} cannot run a small job (")
    assert "same command again" not in line
    assert f", apache-beam {beam.__version__}, " in line
    assert line.endswith(f", vae-pipeline {CODE}, as this command does")


def test_a_worker_pool_whose_python_does_not_start(job_endpoint, tmp_path):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    with engines.external_worker_pool(tmp_path / "pool.log", environment={"PATH": path}) as pool:
        line = refusal(job_endpoint, pool.address, tmp_path / "examples", "--job_server_timeout=10")
    assert "cannot run a small job (none answered within 10 seconds; --job_server_timeout" in line


def test_a_worker_pool_without_the_code(job_endpoint, tmp_path):
    with engines.external_worker_pool(tmp_path / "pool.log", directory=tmp_path) as pool:
        line = refusal(job_endpoint, pool.address, tmp_path / "examples")
    assert line == (
        f"error: the workers of {pool.address} have vae-pipeline not installed, but this command "
        f"has vae-pipeline {CODE}; install the same on both"
    )


def test_a_worker_pool_with_other_code(job_endpoint, tmp_path):
    copy = tmp_path / "copy"
    for name in ("components", "pipeline"):
        shutil.copytree(ROOT / name, copy / name)
    with (copy / "pipeline" / "__init__.py").open("a") as file:
        file.write("# An edit.\n")
    with engines.external_worker_pool(tmp_path / "pool.log", directory=copy) as pool:
        line = refusal(job_endpoint, pool.address, tmp_path / "examples")
    code = subprocess.run(
        [sys.executable, "-c", "from pipeline.beam import probe; print(probe.code_version())"],
        cwd=copy,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    assert code != CODE
    assert line == (
        f"error: the workers of {pool.address} have vae-pipeline {code}, but this command has "
        f"vae-pipeline {CODE}; install the same on both"
    )


def test_a_worker_pool_with_another_beam(job_endpoint, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(ANOTHER_BEAM)
    environment = {"PYTHONPATH": str(tmp_path)}
    with engines.external_worker_pool(tmp_path / "pool.log", environment=environment) as pool:
        line = refusal(job_endpoint, pool.address, tmp_path / "examples")
    assert line == (
        f"error: the workers of {pool.address} have apache-beam 2.76.0, but this command has "
        f"apache-beam {beam.__version__}; install the same on both"
    )


def test_a_worker_pool_with_another_version_of_a_package(job_endpoint, tmp_path):
    metadata = tmp_path / "numpy-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.0\n")
    environment = {"PYTHONPATH": str(tmp_path)}
    with engines.external_worker_pool(tmp_path / "pool.log", environment=environment) as pool:
        line = refusal(job_endpoint, pool.address, tmp_path / "examples")
    assert line == (
        f"error: the workers of {pool.address} have numpy 1.0, but this command has "
        f"numpy {np.__version__}; install the same on both"
    )


@pytest.mark.skipif(OTHER_PYTHON is None, reason="OTHER_PYTHON names no Python with another Beam")
@pytest.mark.parametrize("name", ["prepare", "embed"])
def test_a_worker_pool_with_another_installed_beam(
    name, job_endpoint, model_dir, examples_dir, tmp_path
):
    python = Path(OTHER_PYTHON)
    other = subprocess.check_output(
        [python, "-c", "import apache_beam; print(apache_beam.__version__)"], text=True
    ).strip()
    embed = ("embed", "--model", model_dir, "--input", examples_dir)
    environment = {"PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]])}
    with engines.external_worker_pool(
        tmp_path / "pool.log", directory=tmp_path, environment=environment
    ) as pool:
        line = refusal(
            job_endpoint,
            pool.address,
            tmp_path / "output",
            command=PREPARE if name == "prepare" else embed,
        )
    assert f"error: the workers of {pool.address} have apache-beam {other}, " in line
    assert f"but this command has apache-beam {beam.__version__}, " in line

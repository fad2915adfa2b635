import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.conftest import ROOT
from trainer.config import preset_names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of a copy of this repository, built without the network."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("components", "trainer", "pipeline", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", directory, source)
    (path,) = directory.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A directory that the wheel is installed in."""
    directory = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", directory, wheel)
    return directory


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Runs the console script of an installed wheel, away from the repository."""
    return subprocess.run(
        [sys.executable, installed / "bin" / "vae-pipeline", *arguments],
        cwd=installed.parent,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )


def test_the_version_is_that_of_the_wheel(wheel, installed):
    done = run(installed, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"vae-pipeline {wheel.name.split('-')[1]}\n"


def test_the_commands_are_those_of_the_pipeline_and_the_trainer(installed):
    train = run(installed, "train", "--help")
    assert train.returncode == 0
    assert train.stdout.startswith("usage: vae-pipeline train ")
    # The presets are in the wheel.
    assert ", ".join(preset_names()) in " ".join(train.stdout.split())
    for stage in ("run", "prepare", "evaluate", "embed", "export"):
        done = run(installed, stage, "--help")
        assert done.returncode == 0
        assert done.stdout.startswith(f"usage: vae-pipeline {stage} ")
        # The examples too.
        assert f"\n  vae-pipeline {stage} --" in done.stdout
        assert "python -m" not in done.stdout
    verify = run(installed, "train", "verify", "--help").stdout
    assert verify.startswith("usage: vae-pipeline train verify ")
    assert "python -m" not in train.stdout + verify


def test_the_overview_names_every_command(installed):
    overview = run(installed, "--help").stdout
    assert overview.startswith("usage: vae-pipeline [-h] [--version] COMMAND ...\n")
    assert "(`vae-pipeline train`)" in overview
    assert "python -m" not in overview


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evalute"], "error: unknown stage 'evalute'; nearest: evaluate, generate\n"),
        (["trian"], "unknown stage 'trian'; nearest: train (`vae-pipeline train`)"),
        # The names of TFDS's datasets are in the wheel.
        (
            ["prepare", "--dataset", "fashion_mnits", "--output", "examples"],
            "nearest: fashion_mnist",
        ),
        (["train", "--preset", "mlp"], "--examples (see vae-pipeline train --help)\n"),
        (["train", "--examples", "e", "--preset", "mpl", "--output", "o"], "unknown preset 'mpl'"),
    ],
    ids=" ".join,
)
def test_mistakes_end_with_one_line_and_exit_code_2(installed, arguments, message):
    done = run(installed, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_description_of_the_wheel_can_be_read_anywhere(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Description-Content-Type"] == "text/markdown"
    description = metadata.get_payload()
    assert description == (ROOT / "docs" / "package.md").read_text()
    # A link or a picture would need an address, which the project does not have.
    assert "](" not in description
    assert "<img" not in description
    versions = {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)}
    assert versions <= set(metadata.get_all("Classifier"))

"""Tests of the command line as users run it: in processes, with exit codes and messages."""

import os
import shlex
import shutil
import signal
import subprocess

import pytest

from components.base.stop_signals import SIGNALS
from pipeline.version import installed_version
from tests.conftest import ROOT, limited, module_command


def assert_one_line(done: subprocess.CompletedProcess, code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in last


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("pipeline", "prepair"), ("unknown stage 'prepair'", "nearest: prepare")),
        (("pipeline", "train"), ("unknown stage 'train'; nearest: train (`python -m trainer`)",)),
        (("pipeline", "run", "--run", "x", "--latens", "3"), ("unknown option '--latens'",)),
        (
            ("trainer", "--output", "x", "--examples", "my", "photos"),
            ("2 values after --examples, which takes one: my photos",),
        ),
        (("trainer", "--examples", "x"), ("--output is required",)),
        (("trainer", "--examples", "", "--output", "x"), ("--examples: the path is empty",)),
        (("trainer", "--examples", "x", "--output="), ("--output: the path is empty",)),
        (("trainer", "verify", "--examples", ""), ("--examples: the path is empty",)),
        (("trainer", "--examples", "none", "--output", "x"), ("none is not a finished artifact",)),
    ],
)
def test_a_wrong_command_line_is_explained_in_one_line(cli, arguments, parts):
    done = cli(*arguments)
    assert_one_line(done, 2, *parts)
    assert done.stderr.count("\n") == 1


def test_the_version_is_shown(cli):
    done = cli("pipeline", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"vae-pipeline {installed_version()}\n"


@pytest.mark.parametrize("arguments", [("pipeline",), ("pipeline", "run"), ("trainer",)])
def test_help_imports_nothing_large(arguments):
    script = (
        "import os, runpy, sys; sys.argv = ['x', *sys.argv[2:], '--help']\n"
        "os._exit = sys.exit\n"
        f"try: runpy.run_module('{arguments[0]}', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "large = {'tensorflow', 'apache_beam', 'numpy', 'tensorflow_datasets', 'matplotlib'}\n"
        "assert not large & set(sys.modules), large & set(sys.modules)"
    )
    done = subprocess.run(
        [*module_command("x")[:1], "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: python -m" in done.stdout


def test_the_stages_import_nothing_large_before_they_work():
    script = (
        "import sys, pipeline.run, pipeline.embed.stage, pipeline.export.stage\n"
        "import pipeline.generate.stage, pipeline.neighbours.stage\n"
        "large = {'tensorflow', 'apache_beam', 'tensorflow_datasets', 'matplotlib'}\n"
        "assert not large & set(sys.modules), large & set(sys.modules)"
    )
    done = subprocess.run(
        [*module_command("x")[:1], "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_an_up_to_date_stage_imports_no_tensorflow(examples_dir, model_dir):
    script = (
        "import sys\n"
        "from tests.conftest import tiny_train_config as config\n"
        "del sys.modules['tensorflow']\n"
        "sys.modules['tensorflow'] = None\n"
        "from trainer import stage\n"
        f"stage.run('mlp', config(), examples={str(examples_dir)!r}, output={str(model_dir)!r})"
    )
    done = subprocess.run(
        [*module_command("x")[:1], "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "train: up to date" in done.stderr


def test_the_directory_of_another_config_is_not_touched(cli, examples_dir):
    before = {path: path.stat().st_mtime_ns for path in examples_dir.rglob("*")}
    done = cli(
        "pipeline", "prepare", "--dataset", "synthetic_garments", "--synthetic_size", 600,
        "--validation_fraction", 0.3, "--output", examples_dir,
    )  # fmt: skip
    assert_one_line(done, 2, "validation_fraction is 0.1, not the requested 0.3", "--overwrite")
    assert {path: path.stat().st_mtime_ns for path in examples_dir.rglob("*")} == before


@pytest.mark.parametrize("damage", ["cut", "flipped", "short"])
def test_the_damaged_record_of_a_shard_is_named(cli, examples_dir, tmp_path, damage):
    shutil.copytree(examples_dir, tmp_path / "examples")
    (shard,) = (tmp_path / "examples").glob("*train.tfrecord-*")
    original = shard.read_bytes()
    data = bytearray(original)
    data[2000] ^= 4
    record = len(data) // 534
    shard.write_bytes(
        {"flipped": data, "cut": original[:2000], "short": original[: 3 * record]}[damage]
    )
    done = cli("trainer", "--examples", tmp_path / "examples", "--output", tmp_path / "model")
    expected = (
        "holds 3 records, but the manifest lists 534: record 3"
        if damage == "short"
        else "record 2 of"
    )
    assert_one_line(done, 1, shard.name, expected)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("output", ["/proc/nowhere", "/dev/null/x"])
def test_a_directory_that_cannot_be_written_is_explained_in_one_line(cli, output):
    done = cli("pipeline", "prepare", "--dataset", "synthetic_garments", "--output", output)
    assert_one_line(done, 1, output.rsplit("/", 1)[0])


def test_after_a_full_disk_the_same_command_succeeds(cli, tmp_path):
    """A limit on file sizes takes the place of a full disk: a write fails within a shard."""
    arguments = (
        "pipeline", "prepare", "--dataset", "synthetic_garments", "--synthetic_size", 600,
        "--output", tmp_path / "examples",
    )  # fmt: skip

    command = limited(module_command(*arguments), "-f 100")  # units of 1,024 bytes
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert_one_line(done, 1, "File too large")
    assert not (tmp_path / "examples").exists()
    assert cli(*arguments).returncode == 0
    assert (tmp_path / "examples/manifest.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["examples"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_after_prepare_was_stopped_the_same_command_succeeds(cli, examples_dir, tmp_path, stop):
    arguments = (
        "pipeline", "prepare", "--dataset", "synthetic_garments", "--synthetic_size", 600,
        "--output", tmp_path / "examples",
    )  # fmt: skip
    process = subprocess.Popen(
        module_command(*arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    first_line = process.stderr.readline()
    assert first_line.startswith("prepare: reading")
    process.send_signal(stop)
    _, rest = process.communicate()
    assert process.returncode == (75 if stop != signal.SIGKILL else -signal.SIGKILL)
    assert "Traceback" not in rest
    assert not (tmp_path / "examples").exists()
    assert cli(*arguments).returncode == 0
    for path in examples_dir.glob("*.tfrecord-*"):
        assert (tmp_path / "examples" / path.name).read_bytes() == path.read_bytes()


def test_the_error_for_a_missing_dataset_suggests_solutions(cli, tmp_path):
    # A proxy on a port where nothing listens, so that there is no network.
    env = os.environ | {f"{p}_proxy": "http://127.0.0.1:9" for p in ("http", "https")}
    done = subprocess.run(
        module_command(
            "pipeline", "prepare", "--dataset", "fashion_mnist",
            "--data_dir", tmp_path / "none", "--output", tmp_path / "examples",
        ),
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert_one_line(done, 1, "not prepared under", "--data_dir", "synthetic_garments")


@pytest.mark.parametrize("module", ["pipeline", "trainer"])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_modules_are_imported_ends_a_command_with_one_line(
    cli, monkeypatch, tmp_path, module, number
):
    (tmp_path / "argparse.py").write_text(f"import signal; signal.raise_signal({number.value})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = cli(module, "--help")
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr.startswith(f"{number.name}: stopped; ")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_stops_reading_is_no_failure(cli):
    command = shlex.join(module_command("pipeline", "run", "--help"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")


@pytest.mark.parametrize("redirection", ["2>&1 | true", "2>&-", ">&- 2>&-", "2>/dev/full"])
def test_lost_messages_do_not_lose_the_work(tmp_path, redirection):
    command = shlex.join(
        module_command(
            "pipeline", "prepare", "--dataset", "synthetic_garments", "--synthetic_size", 50,
            "--output", tmp_path / "examples",
        )
    )  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", f"{command} {redirection}; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "examples" / "manifest.json").exists()

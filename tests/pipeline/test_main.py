"""The command line as a user meets it: real processes, their exit codes and their one line."""

import os
import resource
import shutil
import signal
import subprocess

import pytest

from tests.conftest import ROOT, command

RUN = ("pipeline", "run", "--run", "unused")


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
        ((*RUN, "--dataset", "fashion_mist"), ("unknown dataset", "nearest: fashion_mnist")),
        ((*RUN, "--preset", "convv"), ("unknown preset 'convv'", "nearest: conv")),
        ((*RUN, "--latens", "3"), ("unknown option '--latens'", "nearest: --latents")),
        ((*RUN, "--latents", "three"), ("latents", "must be a whole number", "'three'")),
        ((*RUN, "--validation_fraction", "1"), ("validation_fraction", "under 1")),
        (("pipeline", "prepair"), ("unknown stage 'prepair'", "nearest: prepare")),
        (("pipeline", "evaluate"), ("required: --examples, --model, --output",)),
        (("trainer", "--examples", "x"), ("required: --output",)),
        (("trainer", "--examples", "none", "--output", "x"), ("none is no finished artifact",)),
    ],
)
def test_a_wrong_command_line_is_answered_in_one_line(cli, arguments, parts):
    done = cli(*arguments)
    assert_one_line(done, 2, *parts)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("pipeline",), ("pipeline", "run"), ("trainer",)])
def test_help_needs_no_heavy_import(arguments):
    script = (
        "import runpy, sys; sys.argv = ['x', *sys.argv[2:], '--help']\n"
        f"try: runpy.run_module('{arguments[0]}', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'apache_beam', 'numpy', 'tensorflow_datasets', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run(
        [*command("x")[:1], "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: python -m" in done.stdout


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
        [*command("x")[:1], "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "train: up to date" in done.stderr


def test_another_configs_directory_is_refused_untouched(cli, examples_dir):
    before = {path: path.stat().st_mtime_ns for path in examples_dir.rglob("*")}
    done = cli(
        "pipeline", "prepare", "--dataset", "synthetic_garments", "--synthetic_size", 600,
        "--validation_fraction", 0.3, "--output", examples_dir,
    )  # fmt: skip
    assert_one_line(done, 2, "validation_fraction is 0.1 there, 0.3 asked", "--overwrite")
    assert {path: path.stat().st_mtime_ns for path in examples_dir.rglob("*")} == before


@pytest.mark.parametrize("damage", ["cut", "flipped", "short"])
def test_a_damaged_shard_is_named_with_its_record(cli, examples_dir, tmp_path, damage):
    shutil.copytree(examples_dir, tmp_path / "examples")
    (shard,) = (tmp_path / "examples").glob("*train.tfrecord-*")
    whole = shard.read_bytes()
    data = bytearray(whole)
    data[2000] ^= 4
    record = len(data) // 534
    shard.write_bytes({"flipped": data, "cut": whole[:2000], "short": whole[: 3 * record]}[damage])
    done = cli("trainer", "--examples", tmp_path / "examples", "--output", tmp_path / "model")
    expected = (
        "holds 3 records, its manifest says 534: record 3" if damage == "short" else "record 2 of"
    )
    assert_one_line(done, 1, shard.name, expected)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/x"])
def test_a_place_that_cannot_be_written_is_one_line(cli, place):
    done = cli("pipeline", "prepare", "--dataset", "synthetic_garments", "--output", place)
    assert_one_line(done, 1, place.rsplit("/", 1)[0])


def test_a_full_disk_publishes_nothing_and_the_next_call_goes_on(cli, tmp_path):
    """A limit on the size of files stands for the disk: a write fails in the midst of a shard."""
    arguments = (
        "pipeline", "prepare", "--dataset", "synthetic_garments", "--synthetic_size", 600,
        "--output", tmp_path / "examples",
    )  # fmt: skip

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = cli(*arguments, preexec_fn=limit)
    assert_one_line(done, 1, "File too large")
    assert not (tmp_path / "examples").exists()
    assert cli(*arguments).returncode == 0
    assert (tmp_path / "examples/manifest.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["examples"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_prepare_publishes_nothing_and_the_next_call_goes_on(
    cli, examples_dir, tmp_path, stop
):
    arguments = (
        "pipeline", "prepare", "--dataset", "synthetic_garments", "--synthetic_size", 600,
        "--output", tmp_path / "examples",
    )  # fmt: skip
    process = subprocess.Popen(command(*arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    said = process.stderr.readline()
    assert said.startswith("prepare: reading")
    process.send_signal(stop)
    _, rest = process.communicate()
    assert process.returncode == (75 if stop != signal.SIGKILL else -signal.SIGKILL)
    assert "Traceback" not in rest
    assert not (tmp_path / "examples").exists()
    assert cli(*arguments).returncode == 0
    for path in examples_dir.glob("*.tfrecord-*"):
        assert (tmp_path / "examples" / path.name).read_bytes() == path.read_bytes()


def test_a_dataset_that_is_not_there_says_how_to_go_on(cli, tmp_path):
    # With every request sent to a port of this machine where nothing listens, as without network.
    env = os.environ | {f"{p}_proxy": "http://127.0.0.1:9" for p in ("http", "https")}
    done = subprocess.run(
        command(
            "pipeline", "prepare", "--dataset", "fashion_mnist",
            "--data_dir", tmp_path / "none", "--output", tmp_path / "examples",
        ),
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert_one_line(done, 1, "not prepared under", "--data_dir", "synthetic_garments")

"""Tests of the trainer's command line. Those that need no exit code call it in this process."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from components.base.errors import ConfigError
from tests.conftest import ROOT
from trainer import __main__ as command_line
from trainer import stage, verify
from trainer.config import RunOptions, VerifyOptions, load_config


@pytest.fixture
def run_command(monkeypatch) -> Callable[..., dict]:
    """Returns a function that runs a command; it returns what the command would do."""
    calls = []

    def train(preset, config, **arguments):
        calls.append({"does": "train", "preset": preset, "config": config, **arguments})

    def dry_run(config, options, **arguments):
        calls.append({"does": "dry_run", "config": config, "options": options, **arguments})
        return "a description"

    def compare(config, options):
        calls.append({"does": "verify", "config": config, "options": options})
        return "a table"

    monkeypatch.setattr(stage, "run", train)
    monkeypatch.setattr(stage, "dry_run", dry_run)
    monkeypatch.setattr(verify, "verify", compare)

    def run(*arguments: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["trainer", *arguments])
        command_line.main()
        (call,) = calls
        return call

    return run


def test_train_gets_its_paths_config_and_options(run_command):
    call = run_command(
        "--examples", "in", "--output", "out", "--preset", "conv", "--latents", "5", "--overwrite",
        "--verify", "--extend", "--checkpoint_seconds", "7",
    )  # fmt: skip
    assert call == {
        "does": "train",
        "preset": "conv",
        "config": load_config("conv", overrides={"latents": 5}),
        "examples": "in",
        "output": "out",
        "options": RunOptions(checkpoint_seconds=7.0),
        "overwrite": True,
        "verify": True,
        "extend": True,
    }


def test_options_override_the_file_and_the_file_overrides_the_preset(run_command, tmp_path):
    file = tmp_path / "fields.yaml"
    file.write_text("latents: 5\nepochs: 3\n")
    call = run_command("--examples", "in", "--output", "o", "--config", str(file), "--epochs", "4")
    assert call["preset"] == "mlp"
    assert call["config"] == load_config("mlp", overrides={"latents": 5, "epochs": 4})


def test_a_dry_run_needs_no_output_and_prints_the_description(run_command, capsys):
    call = run_command("--examples", "in", "--dry_run", "--cache_bytes", "none")
    assert call["does"] == "dry_run"
    assert call["options"] == RunOptions(cache_bytes=None)
    assert capsys.readouterr().out == "a description\n"


def test_verify_gets_its_options_and_prints_the_table(run_command, capsys):
    call = run_command("verify", "--replicas", "1,2", "--steps", "3", "--latents", "4")
    assert call == {
        "does": "verify",
        "config": load_config("mlp", overrides={"latents": 4}),
        "options": VerifyOptions(replicas=(1, 2), steps=3),
    }
    assert capsys.readouterr().out == "a table\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "required: --examples"),
        ("--examples x", r"--output is required \(or use --dry_run\)"),
        ("--examples x --output y --latens 3", "unknown option '--latens'; nearest: --latents"),
        ("--examples x --output y --latents three", "must be a whole number"),
        ("--examples x --output y --preset convv", "unknown preset 'convv'; nearest: conv"),
        ("--examples x --output y --optimizer adams", "must be one of .*nearest: adam"),
        ("--examples x --output y --cache_bytes -1", "cache_bytes must be at least 0"),
        ("verify --replicas 2", "replicas must be two or more numbers"),
        ("verify --examples x --output y", "unknown option '--output'"),
    ],
)
def test_a_wrong_command_line_is_an_error_of_one_line(run_command, arguments, message):
    with pytest.raises(ConfigError, match=message) as error:
        run_command(*arguments.split())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "--help"]])
def test_help_lists_the_settings(run_command, capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        run_command(*arguments)
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: python -m trainer")
    optimizers = "--optimizer adam|adamw|lamb|lion|muon|rmsprop"
    for option in ("--preset", "--config", "--latents", optimizers):
        assert option in text
    assert "number of cycles of the cyclical beta schedule [4]" in " ".join(text.split())
    assert "largest learning rate of the run [" not in text


def test_an_error_ends_the_process_with_one_line_and_without_heavy_imports():
    script = (
        "import os, sys\n"
        "heavy = {'tensorflow', 'apache_beam', 'tensorflow_datasets', 'matplotlib'}\n"
        "exit = os._exit\n"
        "os._exit = lambda code: exit(99 if heavy & set(sys.modules) else code)\n"
        "sys.argv = ['trainer', '--examples', 'none', '--output', 'unused']\n"
        "import runpy; runpy.run_module('trainer', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: none is not a finished artifact")
    assert done.stderr.count("\n") == 1

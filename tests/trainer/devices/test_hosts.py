import contextlib
import json
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from components.base import artifacts
from components.base.errors import ConfigError
from components.model import vae
from tests.conftest import ROOT, command, ends
from trainer.devices.hosts import Host, host
from trainer.recording.monitor import EpochMetrics, read_metrics

OPTIONS = {"epochs": 2, "widths": 16, "batch_size": 50, "warmup_steps": 0}
CLUSTER = {"worker": ["one:1", "other:1"]}


def config(*, cluster=CLUSTER, type="worker", index: object = 0) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": type, "index": index}})


@pytest.mark.parametrize("text", [None, ""])
def test_without_a_config_there_is_one_host(monkeypatch, text):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    assert host() == Host(0, 1)
    assert host().is_chief


@pytest.mark.parametrize("index", [0, 1, "1"])
def test_the_config_says_which_of_the_hosts_this_is(monkeypatch, index):
    monkeypatch.setenv("TF_CONFIG", config(index=index))
    assert host() == Host(int(index), 2)
    assert host().is_chief == (index == 0)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["one:1"]}}',
        config(index=2),
        config(index=-1),
        config(index="first"),
        config(index=None),
        config(type="ps"),
        config(cluster={"worker": "one:1"}),
        config(cluster={"worker": ["one:1"], "ps": ["other:1"]}),
        config(cluster={"chief": ["one:1"], "worker": ["other:1"]}),
    ],
)
def test_any_other_config_is_refused_in_one_line(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match=r"TF_CONFIG must be .* N less than the") as error:
        host()
    assert str(error.value).endswith(text)
    assert "\n" not in str(error.value)


def test_the_command_refuses_a_wrong_config(cli, examples_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {}}')
    ended = cli("trainer", "--examples", examples_dir, "--output", tmp_path / "model")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error: TF_CONFIG must be ")
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def trainer(examples: Path, output: Path, **options) -> list[str]:
    given = [f"--{name}={value}" for name, value in (OPTIONS | options).items()]
    return command("trainer", "--examples", examples, "--output", output, *given)


def weights(model: Path) -> list[np.ndarray]:
    return vae.load(model / "model.keras").get_weights()


def losses(model: Path) -> np.ndarray:
    """Of every epoch, the training's and the held-out ones."""
    rows: list[EpochMetrics] = read_metrics(model / "metrics.jsonl")
    return np.array([[*row.train.values(), *row.heldout.values()] for row in rows])


def assert_near(one: Path, other: Path) -> None:
    np.testing.assert_allclose(losses(one), losses(other), rtol=1e-5)
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_two_hosts_learn_what_one_does(examples_dir, model_dir, on_two_hosts, tmp_path):
    output = tmp_path / "model"
    chief, worker = ends(on_two_hosts(trainer(examples_dir, output)))
    assert (chief.returncode, worker.returncode) == (0, 0), chief.stderr + worker.stderr
    # The chief alone writes, and says what is learnt.
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    manifest = artifacts.load(output, stage="train").manifest
    assert manifest["counts"]["hosts"] == 2
    assert manifest["counts"]["devices"] == ["CPU"]
    assert "held-out ELBO" in chief.stderr
    assert "ELBO" not in worker.stderr
    # In a log they are quiet, and so are TensorFlow's own libraries.
    assert all(line.startswith("train: ") for line in (chief.stderr + worker.stderr).splitlines())
    assert (len(chief.stderr.splitlines()), len(worker.stderr.splitlines())) == (4, 1)
    assert_near(output, model_dir)


@pytest.mark.slow
def test_two_hosts_learn_what_two_replicas_of_one_do(examples_dir, on_two_hosts, tmp_path):
    apart, together = tmp_path / "apart", tmp_path / "together"
    for end in ends(on_two_hosts(trainer(examples_dir, apart, accumulate=2, ema_decay=0.9))):
        assert end.returncode == 0, end.stderr
    options = ("--replicas=2", "--accumulate=2", "--ema_decay=0.9")
    ended = subprocess.run([*trainer(examples_dir, together), *options], timeout=200, cwd=ROOT)
    assert ended.returncode == 0
    assert artifacts.load(together, stage="train").manifest["counts"]["hosts"] == 1
    assert_near(apart, together)


# Enough epochs to be caught between two.
LONG = {"epochs": 80, "steps_per_call": 4, "optimizer": "adam", "ema_decay": 0.9}


def wait_for_checkpoint(processes: list[subprocess.Popen], checkpoints: Path) -> None:
    """Until there is one more than now."""
    before = max(checkpoints.glob("step-*.ckpt"), default=None)
    while max(checkpoints.glob("step-*.ckpt"), default=None) == before:
        with contextlib.suppress(subprocess.TimeoutExpired):
            processes[0].wait(timeout=0.01)
            raise AssertionError(ends(processes))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_signal_to_either_host_stops_both_and_the_same_commands_go_on(
    examples_dir, on_two_hosts, tmp_path
):
    whole, output = tmp_path / "whole", tmp_path / "model"
    for end in ends(on_two_hosts(trainer(examples_dir, whole, **LONG))):
        assert end.returncode == 0, end.stderr
    draft = tmp_path / "model.draft"
    for host_index in (1, 0):
        processes = on_two_hosts(trainer(examples_dir, output, **LONG))
        wait_for_checkpoint(processes, draft / "checkpoints")
        processes[host_index].send_signal(signal.SIGTERM)
        ended = ends(processes)
        assert [end.returncode for end in ended] == [75, 75], ended
        names = ["another host", "SIGTERM"] if host_index else ["SIGTERM", "another host"]
        steps = [
            re.search(rf"{name}: stopped at step (\d+); the same command goes on\n$", end.stderr)[1]
            for name, end in zip(names, ended, strict=True)
        ]
        assert steps[0] == steps[1]
        assert (draft / f"checkpoints/step-{int(steps[0]):09d}.ckpt").exists()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model.draft", "whole"]
    chief, worker = ends(on_two_hosts(trainer(examples_dir, output, **LONG)))
    assert (chief.returncode, worker.returncode) == (0, 0), chief.stderr + worker.stderr
    assert f"going on from step {steps[0]}" in chief.stderr
    assert (output / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    for one, other in zip(weights(output), weights(whole), strict=True):
        np.testing.assert_array_equal(one, other)
    for path in (whole / "checkpoints").iterdir():
        assert (output / "checkpoints" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_host_that_is_lost_ends_the_other_and_the_same_commands_go_on(
    examples_dir, on_two_hosts, tmp_path, lost
):
    arguments = trainer(examples_dir, tmp_path / "model", **LONG)
    processes = on_two_hosts(arguments)
    wait_for_checkpoint(processes, tmp_path / "model.draft/checkpoints")
    processes[lost].kill()
    other = ends(processes)[1 - lost]
    assert other.returncode == 1, other.stderr
    last = other.stderr.splitlines()[-1]
    assert last.startswith("error: another host was lost (")
    assert "Traceback" not in other.stderr
    for end in ends(on_two_hosts(arguments)):
        assert end.returncode == 0, end.stderr
    assert len(read_metrics(tmp_path / "model/metrics.jsonl")) == LONG["epochs"]

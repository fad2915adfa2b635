import contextlib
import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from components.base.errors import ConfigError
from components.base.manifest import load_artifact
from components.model import vae
from tests.conftest import ROOT, module_command, tiny_train_config, wait_for_all
from trainer import stage
from trainer.devices.hosts import Host, host
from trainer.recording.epoch_metrics import EpochMetrics, read_metrics

OPTIONS = {"epochs": 2, "widths": 16, "batch_size": 50, "warmup_steps": 0}
CLUSTER = {"worker": ["one:1", "other:1"]}


def tf_config(*, cluster=CLUSTER, type="worker", index: object = 0) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": type, "index": index}})


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{}",
        '{"cluster": {}}',
        '{"cluster": null}',
        '{"cluster": {}, "task": {"type": "worker", "index": 0}}',
        tf_config(cluster={"worker": []}),
        tf_config(cluster={"chief": ["one:1"]}, type="chief"),
        tf_config(cluster={"worker": ["one:1"]}),
    ],
)
def test_without_other_hosts_there_is_one_host(monkeypatch, text):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    assert host() == Host(0, 1)
    assert host().is_chief


@pytest.mark.parametrize("index", [0, 1, "1"])
def test_tf_config_names_this_host(monkeypatch, index):
    monkeypatch.setenv("TF_CONFIG", tf_config(index=index))
    assert host() == Host(int(index), 2)
    assert host().is_chief == (index == 0)


@pytest.mark.parametrize(
    ("type", "index", "place"), [("chief", 0, 0), ("worker", 0, 1), ("worker", "1", 2)]
)
def test_a_chief_is_the_first_host(monkeypatch, type, index, place):
    cluster = {"chief": ["one:1"], "worker": ["two:1", "three:1"]}
    monkeypatch.setenv("TF_CONFIG", tf_config(cluster=cluster, type=type, index=index))
    assert host() == Host(place, 3)
    assert host().is_chief == (type == "chief")


@pytest.mark.parametrize("job", ["ps", "evaluator", "master"])
@pytest.mark.parametrize("cluster", [CLUSTER, {"chief": ["one:1"], "worker": ["two:1"]}])
def test_other_jobs_are_refused_by_name(monkeypatch, job, cluster):
    texts = [
        tf_config(cluster=cluster, type=job),
        tf_config(cluster={**cluster, job: ["x:1"]}),
        tf_config(cluster={**cluster, job: ["x:1"]}, type=job),
    ]
    for text in texts:
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(ConfigError, match=f"has the job '{job}'.*start no {job}") as error:
            host()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"cluster": {"worker": ["one:1"]}}',
        tf_config(index=2),
        tf_config(index=-1),
        tf_config(index="first"),
        tf_config(index=None),
        tf_config(type=["worker"]),
        tf_config(type="chief"),
        tf_config(cluster="one:1"),
        tf_config(cluster={"worker": "one:1"}),
        tf_config(cluster={"chief": ["one:1", "two:1"], "worker": ["other:1"]}),
        tf_config(cluster={"chief": ["one:1"], "worker": ["other:1"]}, type="chief", index=1),
        tf_config(cluster={"chief": ["one:1"]}),
    ],
)
def test_a_malformed_tf_config_is_rejected_in_one_line(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match=r"TF_CONFIG must be .* N less than the") as error:
        host()
    assert str(error.value).endswith(text)
    assert "\n" not in str(error.value)


def test_the_command_rejects_a_malformed_tf_config(cli, examples_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": "one:1"}}')
    done = cli("trainer", "--examples", examples_dir, "--output", tmp_path / "model")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: TF_CONFIG must be ")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def train_command(examples: Path, output: Path, **options) -> list[str]:
    arguments = [f"--{name}={value}" for name, value in (OPTIONS | options).items()]
    return module_command("trainer", "--examples", examples, "--output", output, *arguments)


def weights(model: Path) -> list[np.ndarray]:
    return vae.load(model / "model.keras").get_weights()


def losses(model: Path) -> np.ndarray:
    """The train and held-out losses of every epoch."""
    rows: list[EpochMetrics] = read_metrics(model / "metrics.jsonl")
    return np.array([[*row.train.values(), *row.heldout.values()] for row in rows])


def assert_near(one: Path, other: Path) -> None:
    np.testing.assert_allclose(losses(one), losses(other), rtol=1e-5)
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_two_hosts_agree_with_one(examples_dir, model_dir, on_two_hosts, tmp_path):
    output = tmp_path / "model"
    chief, worker = wait_for_all(on_two_hosts(train_command(examples_dir, output)))
    assert (chief.returncode, worker.returncode) == (0, 0), chief.stderr + worker.stderr
    # Only the chief writes files and reports the outcome.
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    manifest = load_artifact(output, stage="train").manifest
    assert manifest.counts["hosts"] == 2
    assert manifest.counts["devices"] == ["CPU"]
    assert "held-out ELBO" in chief.stderr
    assert "ELBO" not in worker.stderr
    # In a log there is nothing but these lines: TensorFlow's libraries are silent.
    # So small a model has learned little in two epochs, which the chief says.
    findings = ("warning: the held-out ELBO of ", "warning: the last epoch still lowered ")
    prefixes = ("train: ", *findings)
    assert all(line.startswith(prefixes) for line in (chief.stderr + worker.stderr).splitlines())
    assert (len(chief.stderr.splitlines()), len(worker.stderr.splitlines())) == (6, 1)
    assert_near(output, model_dir)


@pytest.mark.slow
def test_a_chief_and_a_worker_agree_with_one_host(examples_dir, model_dir, on_two_hosts, tmp_path):
    output = tmp_path / "model"
    processes = on_two_hosts(train_command(examples_dir, output), has_chief=True)
    chief, worker = wait_for_all(processes)
    assert (chief.returncode, worker.returncode) == (0, 0), chief.stderr + worker.stderr
    assert ("ELBO" in chief.stderr, "ELBO" in worker.stderr) == (True, False)
    assert_near(output, model_dir)


@pytest.mark.slow
def test_two_hosts_agree_with_two_replicas_on_one(examples_dir, on_two_hosts, tmp_path):
    apart, together = tmp_path / "apart", tmp_path / "together"
    command = train_command(examples_dir, apart, accumulate=2, ema_decay=0.9)
    for done in wait_for_all(on_two_hosts(command)):
        assert done.returncode == 0, done.stderr
    options = ("--replicas=2", "--accumulate=2", "--ema_decay=0.9")
    done = subprocess.run([*train_command(examples_dir, together), *options], timeout=200, cwd=ROOT)
    assert done.returncode == 0
    assert load_artifact(together, stage="train").manifest.counts["hosts"] == 1
    assert_near(apart, together)


# Enough epochs to be interrupted while training.
LONG = {"epochs": 80, "steps_per_call": 4, "optimizer": "adam", "ema_decay": 0.9}


def wait_for_checkpoint(processes: list[subprocess.Popen], checkpoints: Path) -> None:
    """Waits until the processes have saved one more checkpoint."""
    before = max(checkpoints.glob("step-*.ckpt"), default=None)
    while max(checkpoints.glob("step-*.ckpt"), default=None) == before:
        with contextlib.suppress(subprocess.TimeoutExpired):
            processes[0].wait(timeout=0.01)
            raise AssertionError(wait_for_all(processes))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_signal_to_either_host_stops_both_and_the_same_commands_resume(
    examples_dir, on_two_hosts, tmp_path
):
    uninterrupted, output = tmp_path / "uninterrupted", tmp_path / "model"
    for done in wait_for_all(on_two_hosts(train_command(examples_dir, uninterrupted, **LONG))):
        assert done.returncode == 0, done.stderr
    draft = tmp_path / "model.draft"
    for host_index in (1, 0):
        processes = on_two_hosts(train_command(examples_dir, output, **LONG))
        wait_for_checkpoint(processes, draft / "checkpoints")
        processes[host_index].send_signal(signal.SIGTERM)
        results = wait_for_all(processes)
        assert [done.returncode for done in results] == [75, 75], results
        names = ["another host", "SIGTERM"] if host_index else ["SIGTERM", "another host"]
        steps = [
            re.search(rf"{name}: stopped at step (\d+); run the same command", done.stderr)[1]
            for name, done in zip(names, results, strict=True)
        ]
        assert steps[0] == steps[1]
        assert (draft / f"checkpoints/step-{int(steps[0]):09d}.ckpt").exists()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model.draft", "uninterrupted"]
    chief, worker = wait_for_all(on_two_hosts(train_command(examples_dir, output, **LONG)))
    assert (chief.returncode, worker.returncode) == (0, 0), chief.stderr + worker.stderr
    assert f"resuming from step {steps[0]}" in chief.stderr
    assert (output / "metrics.jsonl").read_bytes() == (uninterrupted / "metrics.jsonl").read_bytes()
    for one, other in zip(weights(output), weights(uninterrupted), strict=True):
        np.testing.assert_array_equal(one, other)
    for path in (uninterrupted / "checkpoints").iterdir():
        assert (output / "checkpoints" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_host_ends_the_other_and_the_same_commands_resume(
    examples_dir, on_two_hosts, tmp_path, lost
):
    command = train_command(examples_dir, tmp_path / "model", **LONG)
    processes = on_two_hosts(command)
    wait_for_checkpoint(processes, tmp_path / "model.draft/checkpoints")
    processes[lost].kill()
    other = wait_for_all(processes)[1 - lost]
    assert other.returncode == 1, other.stderr
    last = other.stderr.splitlines()[-1]
    assert last.startswith("error: another host was lost (")
    assert "Traceback" not in other.stderr
    for done in wait_for_all(on_two_hosts(command)):
        assert done.returncode == 0, done.stderr
    assert len(read_metrics(tmp_path / "model/metrics.jsonl")) == LONG["epochs"]


@pytest.mark.slow
def test_two_hosts_extend_a_model_as_one_does(examples_dir, model_dir, on_two_hosts, tmp_path):
    apart, alone = tmp_path / "apart", tmp_path / "alone"
    for output in (apart, alone):
        shutil.copytree(model_dir, output)
    command = [*train_command(examples_dir, apart, epochs=4), "--extend"]
    chief, worker = wait_for_all(on_two_hosts(command))
    assert (chief.returncode, worker.returncode) == (0, 0), chief.stderr + worker.stderr
    assert "train: resuming from step 22\n" in chief.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "apart"]
    assert load_artifact(apart, stage="train").manifest.counts["hosts"] == 2
    config = tiny_train_config(epochs=4)
    stage.run("mlp", config, examples=examples_dir, output=alone, extend=True)
    assert_near(apart, alone)
    for done in wait_for_all(on_two_hosts(command)):
        assert (done.returncode, done.stderr) == (0, f"train: up to date ({apart})\n")

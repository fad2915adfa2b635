import contextlib
import json
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components import artifacts, vae
from components.errors import WorkError
from tests.conftest import ROOT, command, tiny_train_config
from trainer import schedules, stage

EPOCHS = 80  # Enough of them to catch a run between two.


def train(examples_dir, output, **fields):
    return stage.run("mlp", tiny_train_config(**fields), examples=examples_dir, output=output)


def weights(model_dir) -> list[np.ndarray]:
    return vae.load(model_dir / "model.keras").get_weights()


def assert_same_run(one: Path, other: Path) -> None:
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    newest = [max((each / "checkpoints").iterdir()).read_bytes() for each in (one, other)]
    assert newest[0] == newest[1]


def test_the_artifact_holds_what_the_contract_says(model_dir):
    artifact = artifacts.load(model_dir, stage="train")
    names = set(artifact.manifest["outputs"])
    assert {"model.keras", "metrics.jsonl"} <= names
    assert any(name.startswith("checkpoints/") for name in names)
    assert any(name.startswith("tensorboard/") for name in names)
    assert artifact.manifest["config"]["preset"] == "mlp"
    assert artifact.manifest["counts"]["devices"] == ["CPU"]
    assert artifact.manifest["counts"]["precision"] == "float32"


def test_metrics_are_per_example_and_add_up(model_dir):
    rows = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        for losses in (row["train"], row["heldout"]):
            assert losses["loss"] == pytest.approx(losses["rate"] + losses["distortion"])
            assert 100 < losses["loss"] < 1000


def test_the_held_out_elbo_is_that_of_the_saved_model(model_dir, example_set):
    from components import metrics

    scores = metrics.elbo(
        vae.load(model_dir / "model.keras"), example_set.read("validation").images, seed=0
    )
    final = json.loads((model_dir / "metrics.jsonl").read_text().splitlines()[-1])["heldout"]
    assert final["rate"] == pytest.approx(scores.rate.mean(), rel=1e-5)
    assert final["distortion"] == pytest.approx(scores.distortion.mean(), rel=1e-5)


def test_the_same_command_gives_the_same_bits(model_dir, examples_dir, tmp_path):
    train(examples_dir, tmp_path / "model")
    assert_same_run(tmp_path / "model", model_dir)


def test_eval_every_leaves_epochs_out_but_never_the_last(examples_dir, tmp_path):
    train(examples_dir, tmp_path / "model", epochs=3, eval_every=2)
    rows = (tmp_path / "model/metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["heldout"] is not None for row in rows] == [False, True, True]


def test_a_conv_model_trains(examples_dir, tmp_path):
    train(examples_dir, tmp_path / "model", network="conv", widths=(4, 16), epochs=1)
    assert vae.load(tmp_path / "model/model.keras").image_shape == (28, 28, 1)


def explode_at(step: int, monkeypatch) -> None:
    """Makes the learning rate infinite from a step on, counted from 1."""

    def exploding(*args, **kwargs):
        return lambda done: tf.where(done >= step - 1, np.float32(np.inf), np.float32(1e-3))

    monkeypatch.setattr(schedules, "schedule", exploding)


def test_a_loss_that_is_not_finite_names_the_step_and_keeps_the_checkpoint(
    examples_dir, tmp_path, monkeypatch
):
    explode_at(15, monkeypatch)  # In the second epoch of 11 steps.
    with pytest.raises(WorkError, match="not finite at step 16; the checkpoint of step 11 is kept"):
        train(examples_dir, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    kept = [path.name for path in (tmp_path / "model.draft/checkpoints").iterdir()]
    assert kept == ["step-000000011.ckpt"]


def test_weights_that_are_not_finite_are_neither_kept_nor_published(
    examples_dir, tmp_path, monkeypatch
):
    """The last update of an epoch spoils them, after its loss was measured."""
    explode_at(11, monkeypatch)
    with pytest.raises(WorkError, match="the training state is not finite at step 11"):
        train(examples_dir, tmp_path / "model", epochs=1)
    assert not (tmp_path / "model").exists()
    assert not list((tmp_path / "model.draft").glob("checkpoints/*"))


def test_training_again_gives_the_same_fingerprint(examples_dir, model_dir, tmp_path):
    again = train(examples_dir, tmp_path / "model")
    assert again.fingerprint == artifacts.load(model_dir, stage="train").fingerprint


def start(examples_dir, output, *, epochs: int) -> subprocess.Popen:
    """A real training process, small and long enough to be caught in the middle."""
    options = {"epochs": epochs, "widths": 16, "batch_size": 50, "warmup_steps": 0}
    options |= {"steps_per_call": 4}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    return subprocess.Popen(
        command("trainer", "--examples", examples_dir, "--output", output, *arguments),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_checkpoint(process: subprocess.Popen, directory: Path) -> None:
    while not (directory.exists() and any(p.suffix == ".ckpt" for p in directory.iterdir())):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.01)
            raise AssertionError(process.stderr.read())


@pytest.fixture(scope="module")
def uninterrupted(examples_dir, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("uninterrupted") / "model"
    process = start(examples_dir, directory, epochs=EPOCHS)
    _, said = process.communicate()
    assert process.returncode == 0
    # In a log it is quiet, and so are TensorFlow's own libraries.
    assert all(line.startswith("train: ") for line in said.splitlines()), said
    assert len(said.splitlines()) == 3
    return directory


def test_a_killed_run_goes_on_with_the_same_bits(examples_dir, tmp_path, uninterrupted):
    process = start(examples_dir, tmp_path / "model", epochs=EPOCHS)
    wait_for_checkpoint(process, tmp_path / "model.draft/checkpoints")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
    process = start(examples_dir, tmp_path / "model", epochs=EPOCHS)
    _, said = process.communicate()
    assert process.returncode == 0
    assert "going on from step" in said
    assert_same_run(tmp_path / "model", uninterrupted)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_saves_its_work_and_goes_on(examples_dir, tmp_path, uninterrupted, stop):
    process = start(examples_dir, tmp_path / "model", epochs=EPOCHS)
    wait_for_checkpoint(process, tmp_path / "model.draft/checkpoints")
    process.send_signal(stop)
    _, said = process.communicate()
    assert process.returncode == 75, said
    step = re.search(rf"{stop.name}: stopped at step (\d+); the same command goes on\n$", said)[1]
    assert (tmp_path / f"model.draft/checkpoints/step-{int(step):09d}.ckpt").exists()
    process = start(examples_dir, tmp_path / "model", epochs=EPOCHS)
    _, said = process.communicate()
    assert f"going on from step {step}" in said
    assert_same_run(tmp_path / "model", uninterrupted)

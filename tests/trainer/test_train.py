import contextlib
import dataclasses
import json
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.base.errors import ConfigError, WorkError
from components.base.manifest import load_artifact
from components.metrics.elbo import estimate_elbo
from components.model import vae
from pipeline.prepare.stage import prepare
from tests.conftest import ROOT, module_command, tiny_prepare_config, tiny_train_config
from trainer import build, stage
from trainer.config import RunOptions
from trainer.optimization import schedules
from trainer.recording.checkpoints import Checkpoints, read
from trainer.recording.epoch_metrics import EpochMetrics, read_metrics

# A convolutional network is not compiled by XLA on the CPU, which saves seconds per run. Its
# precision is given, since it would be measured.
QUICK = {"network": "conv", "widths": (2, 4), "steps_per_call": 4, "precision": "float32"}


def train(examples_dir, output, *, options=RunOptions(), **fields):  # noqa: B008 - frozen
    config = tiny_train_config(**fields)
    stage.run("mlp", config, examples=examples_dir, output=output, options=options)


def newest_checkpoint(model_dir: Path) -> Path | None:
    return max((model_dir / "checkpoints").glob("step-*.ckpt"), default=None)


def checkpoints(model_dir) -> list[str]:
    return sorted(path.name for path in (model_dir / "checkpoints").iterdir())


def weights(model_dir) -> list[np.ndarray]:
    return vae.load(model_dir / "model.keras").get_weights()


def assert_same_run(one: Path, other: Path) -> None:
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    assert checkpoints(one) == checkpoints(other)
    for name in checkpoints(one):
        contents = [(model / "checkpoints" / name).read_bytes() for model in (one, other)]
        assert contents[0] == contents[1], name


def test_the_artifact_has_the_outputs_and_counts_of_the_contract(model_dir):
    artifact = load_artifact(model_dir, stage="train")
    names = set(artifact.manifest.outputs)
    assert {"model.keras", "metrics.jsonl"} <= names
    assert any(name.startswith("checkpoints/") for name in names)
    assert any(name.startswith("tensorboard/") for name in names)
    assert artifact.manifest.config["preset"] == "mlp"
    counts = artifact.manifest.counts
    assert counts["devices"] == ["CPU"]
    assert counts["precision"] == "float32"
    assert counts["hosts"] == 1
    assert counts["steps"] == 22
    rows = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    assert counts["final"] == rows[-1]
    assert counts["kept"] == min(rows, key=lambda row: row["heldout"]["loss"])


def test_metrics_are_per_example_and_the_loss_is_their_sum(model_dir):
    rows = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        for losses in (row["train"], row["heldout"]):
            assert losses["loss"] == pytest.approx(losses["rate"] + losses["distortion"])
            assert 100 < losses["loss"] < 1000


def test_the_held_out_elbo_is_that_of_the_published_model(model_dir, example_set):
    scores = estimate_elbo(
        vae.load(model_dir / "model.keras"), example_set.read("validation").images, seed=0
    )
    kept = load_artifact(model_dir, stage="train").manifest.counts["kept"]["heldout"]
    assert kept["rate"] == pytest.approx(scores.rate.mean(), rel=1e-5)
    assert kept["distortion"] == pytest.approx(scores.distortion.mean(), rel=1e-5)


def test_images_in_memory_and_from_the_shards_give_bit_identical_results(
    model_dir, examples_dir, tmp_path, capsys
):
    train(examples_dir, tmp_path / "model", options=RunOptions(cache_bytes=0))
    assert "examples streamed from the shards" in capsys.readouterr().err
    assert_same_run(tmp_path / "model", model_dir)
    fingerprints = {
        load_artifact(model, stage="train").fingerprint for model in (model_dir, tmp_path / "model")
    }
    assert len(fingerprints) == 1


def test_the_last_epoch_is_always_evaluated(examples_dir, tmp_path):
    train(examples_dir, tmp_path / "model", epochs=3, eval_every=2, **QUICK)
    rows = (tmp_path / "model/metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["heldout"] is not None for row in rows] == [False, True, True]


def explode_at(step: int, monkeypatch) -> None:
    """Makes the learning rate infinite from a step on, counted from 1."""

    def learning_rate(self, done):
        return tf.where(done >= step - 1, np.float32(np.inf), np.float32(1e-3))

    monkeypatch.setattr(schedules.LearningRate, "__call__", learning_rate)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(
    examples_dir, tmp_path, monkeypatch
):
    explode_at(15, monkeypatch)  # In the second epoch of 11 steps.
    with pytest.raises(WorkError, match="not finite at step 16; the checkpoint of step 11 is kept"):
        train(examples_dir, tmp_path / "model", **QUICK)
    assert not (tmp_path / "model").exists()
    assert checkpoints(tmp_path / "model.draft") == ["best.ckpt", "step-000000011.ckpt"]


def test_weights_that_are_not_finite_are_neither_saved_nor_published(
    examples_dir, tmp_path, monkeypatch
):
    """The last update of an epoch follows the measurement of its loss."""
    explode_at(11, monkeypatch)
    with pytest.raises(WorkError, match="the training state is not finite at step 11"):
        train(examples_dir, tmp_path / "model", epochs=1, **QUICK)
    assert not (tmp_path / "model").exists()
    assert not list((tmp_path / "model.draft").glob("checkpoints/*"))


class Killed(BaseException):
    """Simulates the death of a process: a BaseException, so that nothing handles it."""


def killed_after(num_saves: int, monkeypatch) -> None:
    """Ends the next run after it has saved a number of checkpoints."""
    save = Checkpoints.save
    calls = []

    def save_and_die(self, *args, **kwargs):
        save(self, *args, **kwargs)
        calls.append(args)
        if len(calls) == num_saves:
            raise Killed

    monkeypatch.setattr(Checkpoints, "save", save_and_die)


@pytest.mark.parametrize(
    "parts", [{}, {"likelihood": "gaussian", "linear_path": "principal_components"}], ids=str
)
def test_a_run_resumes_from_a_checkpoint_within_an_epoch(
    examples_dir, tmp_path, monkeypatch, capsys, parts
):
    settings = QUICK | parts | {"epochs": 1}
    options = RunOptions(checkpoint_seconds=0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(2, patch)
        train(examples_dir, tmp_path / "model", options=options, **settings)
    # After each call of 4 of the 11 steps.
    names = ["step-000000004.ckpt", "step-000000008.ckpt"]
    assert checkpoints(tmp_path / "model.draft") == names
    train(examples_dir, tmp_path / "model", **settings)
    assert "train: resuming from step 8\n" in capsys.readouterr().err
    # The metrics include the examples that the first process trained on.
    train(examples_dir, tmp_path / "uninterrupted", **settings)
    assert_same_run(tmp_path / "model", tmp_path / "uninterrupted")


def test_a_profile_is_published_for_tensorboard(examples_dir, tmp_path, capsys):
    train(examples_dir, tmp_path / "model", options=RunOptions(profile=4), epochs=1, **QUICK)
    [trace] = (tmp_path / "model/tensorboard/plugins/profile").glob("*/*.xplane.pb")
    assert trace.stat().st_size > 1000
    assert "train: wrote the profile to " in capsys.readouterr().err
    outputs = load_artifact(tmp_path / "model", stage="train").manifest.outputs
    assert outputs[trace.relative_to(tmp_path / "model").as_posix()].volatile


# The learning rate grows until the held-out ELBO gets worse.
WILD = QUICK | {"epochs": 12, "warmup_steps": 12 * 11, "learning_rate": 1.0, "ema_decay": 0.5}
WILD |= {"schedule": "constant", "warmup_share": 1.0}


@pytest.fixture(scope="module")
def wild(examples_dir, tmp_path_factory) -> Path:
    """A run of all epochs, although the ELBO gets worse."""
    directory = tmp_path_factory.mktemp("wild") / "model"
    train(examples_dir, directory, keep="last", **WILD)
    return directory


def best_epoch(rows: list[EpochMetrics]) -> int:
    return min(rows, key=lambda row: row.heldout["loss"]).epoch


def end_of(rows: list[EpochMetrics], *, patience: int) -> int:
    """The epoch after which early stopping ends a run with these rows."""
    for epoch in range(1, len(rows) + 1):
        if epoch - best_epoch(rows[:epoch]) == patience:
            return epoch
    raise AssertionError("the ELBO does not get worse for long enough")


def assert_heldout(model_dir: Path, row: EpochMetrics, example_set) -> None:
    """Checks that the ELBO of the published model is that of the row."""
    model = vae.load(model_dir / "model.keras")
    scores = estimate_elbo(model, example_set.images("validation"), seed=0)
    assert -row.heldout["loss"] == pytest.approx(scores.elbo.mean(), rel=1e-6)


def test_a_row_has_the_means_over_the_examples_of_its_epoch(wild, example_set):
    run = build.build_run(tiny_train_config(**WILD), example_set)
    for row in read_metrics(wild / "metrics.jsonl")[:3]:
        sums = sum(run.loop.run(steps).sum(axis=0, dtype=np.float64) for steps in (4, 4, 3))
        rate, distortion = sums / example_set.num_examples("train")
        expected = {"loss": rate + distortion, "rate": rate, "distortion": distortion}
        assert row.train == pytest.approx(expected, rel=1e-12)
    run.batches.close()


def test_keep_last_publishes_the_last_averages(wild, example_set):
    rows = read_metrics(wild / "metrics.jsonl")
    assert len(rows) == 12
    assert best_epoch(rows) != 12
    assert_heldout(wild, rows[-1], example_set)
    arrays = read(newest_checkpoint(wild)).arrays
    averages = [array for name, array in arrays.items() if name.startswith("averages/")]
    for actual, expected in zip(weights(wild), averages, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_early_stopping_ends_a_killed_run_at_the_same_epoch(
    examples_dir, example_set, wild, tmp_path, monkeypatch
):
    all_rows = read_metrics(wild / "metrics.jsonl")
    end = end_of(all_rows, patience=3)
    # Killed first in the middle of the run, then after the checkpoint of the last epoch.
    for num_saves in (end - 2, 2):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killed_after(num_saves, patch)
            train(examples_dir, tmp_path / "model", patience=3, **WILD)
    train(examples_dir, tmp_path / "model", patience=3, **WILD)
    rows = read_metrics(tmp_path / "model/metrics.jsonl")
    assert rows == all_rows[:end]
    assert end < 12
    # The best model is published, not the last one.
    best = rows[best_epoch(rows) - 1]
    assert best.epoch == end - 3
    assert_heldout(tmp_path / "model", best, example_set)
    counts = load_artifact(tmp_path / "model", stage="train").manifest.counts
    assert counts["kept"] == dataclasses.asdict(best)
    assert counts["final"] == dataclasses.asdict(rows[-1])
    assert counts["steps"] == 11 * end


def test_a_run_with_damaged_best_and_newest_checkpoints_publishes_the_last_model(
    examples_dir, wild, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(10, patch)
        train(examples_dir, tmp_path / "model", **WILD)
    assert best_epoch(read_metrics(wild / "metrics.jsonl")) < 10  # No better one follows.
    damaged = newest_checkpoint(tmp_path / "model.draft")
    for path in (damaged, damaged.with_name("best.ckpt")):
        path.write_bytes(path.read_bytes()[:-1])
    train(examples_dir, tmp_path / "model", **WILD)
    output = capsys.readouterr().err
    assert f"warning: checkpoint {damaged} is damaged; using the one before\n" in output
    assert "train: resuming from step 99\n" in output
    assert "is lost; publishing the model of the last epoch, 12, with -" in output
    # Everything else is the same as in a run without damage.
    for one, other in zip(weights(tmp_path / "model"), weights(wild), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (tmp_path / "model/metrics.jsonl").read_bytes() == (wild / "metrics.jsonl").read_bytes()
    ends = [read(newest_checkpoint(model)).arrays for model in (tmp_path / "model", wild)]
    for name, array in ends[0].items():
        np.testing.assert_array_equal(array, ends[1][name])
    kept = load_artifact(tmp_path / "model", stage="train").manifest.counts["kept"]
    assert kept["epoch"] == 12


# Long enough to be interrupted.
LONG = QUICK | {"epochs": 30, "optimizer": "adam", "ema_decay": 0.9}


def start(examples_dir, output) -> subprocess.Popen:
    """Starts training in a separate process."""
    options = {"batch_size": 50, "warmup_steps": 0} | LONG | {"widths": "2,4"}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    return subprocess.Popen(
        module_command("trainer", "--examples", examples_dir, "--output", output, *arguments),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt(process: subprocess.Popen, draft: Path, number: signal.Signals) -> str:
    """Sends a signal after the process's first checkpoint, and returns what it printed."""
    before = newest_checkpoint(draft)
    while newest_checkpoint(draft) == before:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.01)
            raise AssertionError(process.stderr.read())
    process.send_signal(number)
    return process.communicate()[1]


def test_a_killed_and_stopped_run_gives_bit_identical_results(examples_dir, tmp_path, capsys):
    output, draft = tmp_path / "model", tmp_path / "model.draft"
    process = start(examples_dir, output)
    interrupt(process, draft, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start(examples_dir, output)
        output_text = interrupt(process, draft, number)
        assert process.returncode == 75, output_text
        assert "train: resuming from step " in output_text
        stopped = (
            rf"{number.name}: stopped at step (\d+); run the same command again to continue\n$"
        )
        step = int(re.search(stopped, output_text)[1])
        assert newest_checkpoint(draft).name == f"step-{step:09d}.ckpt"
    assert not output.exists()
    # The last part and the reference run in this process, since starting one takes seconds.
    train(examples_dir, output, **LONG)
    assert f"train: resuming from step {step}\n" in capsys.readouterr().err
    train(examples_dir, tmp_path / "uninterrupted", **LONG)
    assert_same_run(output, tmp_path / "uninterrupted")


def test_a_conditional_model_of_images_without_labels_is_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    np.savez(tmp_path / "data.npz", images=images)
    examples = tmp_path / "examples"
    prepare(tiny_prepare_config(dataset=str(tmp_path / "data.npz")), output=examples)
    with pytest.raises(ConfigError, match="this one has 1: unlabelled; set condition to none"):
        train(examples, tmp_path / "model", condition="label")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "examples"]

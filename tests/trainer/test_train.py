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

from components.base import artifacts
from components.base.errors import WorkError
from components.metrics import likelihood
from components.model import vae
from tests.conftest import ROOT, command, tiny_train_config
from trainer import build, stage
from trainer.config import RunOptions
from trainer.optimization import schedules
from trainer.recording.checkpoints import Checkpoints
from trainer.recording.monitor import EpochMetrics, read_metrics

# For runs in this process that are not about the mlp: XLA compiles none of it, which takes seconds.
QUICK = {"network": "conv", "widths": (2, 4), "steps_per_call": 4}


def train(examples_dir, output, *, options=RunOptions(), **fields):  # noqa: B008 - frozen
    config = tiny_train_config(**fields)
    stage.run("mlp", config, examples=examples_dir, output=output, options=options)


def newest(model_dir: Path) -> Path | None:
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
        ours, theirs = ((each / "checkpoints" / name).read_bytes() for each in (one, other))
        assert ours == theirs, name


def test_the_artifact_holds_what_the_contract_says(model_dir):
    artifact = artifacts.load(model_dir, stage="train")
    names = set(artifact.manifest["outputs"])
    assert {"model.keras", "metrics.jsonl"} <= names
    assert any(name.startswith("checkpoints/") for name in names)
    assert any(name.startswith("tensorboard/") for name in names)
    assert artifact.manifest["config"]["preset"] == "mlp"
    counts = artifact.manifest["counts"]
    assert counts["devices"] == ["CPU"]
    assert counts["precision"] == "float32"
    assert counts["hosts"] == 1
    assert counts["steps"] == 22
    rows = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    assert counts["final"] == rows[-1]
    assert counts["kept"] == min(rows, key=lambda row: row["heldout"]["loss"])


def test_metrics_are_per_example_and_add_up(model_dir):
    rows = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        for losses in (row["train"], row["heldout"]):
            assert losses["loss"] == pytest.approx(losses["rate"] + losses["distortion"])
            assert 100 < losses["loss"] < 1000


def test_the_held_out_elbo_is_that_of_the_saved_model(model_dir, example_set):
    scores = likelihood.elbo(
        vae.load(model_dir / "model.keras"), example_set.read("validation").images, seed=0
    )
    kept = artifacts.load(model_dir, stage="train").manifest["counts"]["kept"]["heldout"]
    assert kept["rate"] == pytest.approx(scores.rate.mean(), rel=1e-5)
    assert kept["distortion"] == pytest.approx(scores.distortion.mean(), rel=1e-5)


def test_the_same_command_gives_the_same_bits_from_memory_or_from_the_shards(
    model_dir, examples_dir, tmp_path, capsys
):
    train(examples_dir, tmp_path / "model", options=RunOptions(cache_bytes=0))
    assert "examples streamed from the shards" in capsys.readouterr().err
    assert_same_run(tmp_path / "model", model_dir)
    fingerprints = {
        artifacts.load(each, stage="train").fingerprint for each in (model_dir, tmp_path / "model")
    }
    assert len(fingerprints) == 1


def test_eval_every_leaves_epochs_out_but_never_the_last(examples_dir, tmp_path):
    train(examples_dir, tmp_path / "model", epochs=3, eval_every=2, **QUICK)
    rows = (tmp_path / "model/metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["heldout"] is not None for row in rows] == [False, True, True]


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
        train(examples_dir, tmp_path / "model", **QUICK)
    assert not (tmp_path / "model").exists()
    assert checkpoints(tmp_path / "model.draft") == ["best.ckpt", "step-000000011.ckpt"]


def test_weights_that_are_not_finite_are_neither_kept_nor_published(
    examples_dir, tmp_path, monkeypatch
):
    """The last update of an epoch spoils them, after its loss was measured."""
    explode_at(11, monkeypatch)
    with pytest.raises(WorkError, match="the training state is not finite at step 11"):
        train(examples_dir, tmp_path / "model", epochs=1, **QUICK)
    assert not (tmp_path / "model").exists()
    assert not list((tmp_path / "model.draft").glob("checkpoints/*"))


class Killed(BaseException):
    """Stands for the end of a process, whatever it was about to do."""


def killed_after(saves: int, monkeypatch) -> None:
    """Ends the next run as its checkpoint of that number is written."""
    save = Checkpoints.save
    saved = []

    def save_and_die(self, *args, **kwargs):
        save(self, *args, **kwargs)
        saved.append(args)
        if len(saved) == saves:
            raise Killed

    monkeypatch.setattr(Checkpoints, "save", save_and_die)


def test_checkpoints_within_an_epoch(examples_dir, tmp_path, monkeypatch, capsys):
    options = RunOptions(checkpoint_seconds=0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(2, patch)
        train(examples_dir, tmp_path / "model", options=options, epochs=1, **QUICK)
    # After every call of 4 of its 11 steps.
    names = ["step-000000004.ckpt", "step-000000008.ckpt"]
    assert checkpoints(tmp_path / "model.draft") == names
    train(examples_dir, tmp_path / "model", epochs=1, **QUICK)
    assert "train: going on from step 8\n" in capsys.readouterr().err
    # The epoch's means are over all of it, however many processes met its examples.
    train(examples_dir, tmp_path / "whole", epochs=1, **QUICK)
    assert_same_run(tmp_path / "model", tmp_path / "whole")


def test_a_profile_is_a_trace_for_tensorboard(examples_dir, tmp_path, capsys):
    train(examples_dir, tmp_path / "model", options=RunOptions(profile=4), epochs=1, **QUICK)
    [trace] = (tmp_path / "model/tensorboard/plugins/profile").glob("*/*.xplane.pb")
    assert trace.stat().st_size > 1000
    assert "train: the profile lies in " in capsys.readouterr().err
    outputs = artifacts.load(tmp_path / "model", stage="train").manifest["outputs"]
    assert outputs[trace.relative_to(tmp_path / "model").as_posix()]["volatile"]


# Steps that grow until the held-out ELBO falls again.
WILD = QUICK | {"epochs": 12, "warmup_steps": 12 * 11, "learning_rate": 1.0, "ema_decay": 0.5}
WILD |= {"schedule": "constant"}


@pytest.fixture(scope="module")
def wild(examples_dir, tmp_path_factory) -> Path:
    """A run to the last epoch, whatever comes."""
    directory = tmp_path_factory.mktemp("wild") / "model"
    train(examples_dir, directory, keep="last", **WILD)
    return directory


def best_epoch(rows: list[EpochMetrics]) -> int:
    return min(rows, key=lambda row: row.heldout["loss"]).epoch


def end_of(rows: list[EpochMetrics], *, patience: int) -> int:
    """The epoch after which patience ends, by the rows of the whole run."""
    for epoch in range(1, len(rows) + 1):
        if epoch - best_epoch(rows[:epoch]) == patience:
            return epoch
    raise AssertionError("the run is not wild enough")


def assert_heldout(model_dir: Path, row: EpochMetrics, example_set) -> None:
    """That the model's ELBO is the row's."""
    model = vae.load(model_dir / "model.keras")
    scores = likelihood.elbo(model, example_set.images("validation"), seed=0)
    assert -row.heldout["loss"] == pytest.approx(scores.elbo.mean(), rel=1e-6)


def test_a_row_is_the_mean_over_the_examples_of_its_epoch(wild, example_set):
    run = build.run(tiny_train_config(**WILD), example_set)
    for row in read_metrics(wild / "metrics.jsonl")[:3]:
        sums = sum(run.loop.run(steps).sum(axis=0, dtype=np.float64) for steps in (4, 4, 3))
        rate, distortion = sums / example_set.num_examples("train")
        expected = {"loss": rate + distortion, "rate": rate, "distortion": distortion}
        assert row.train == pytest.approx(expected, rel=1e-12)
    run.batches.close()


def test_the_last_model_is_that_of_the_last_averages(wild, example_set):
    rows = read_metrics(wild / "metrics.jsonl")
    assert len(rows) == 12
    assert best_epoch(rows) != 12
    assert_heldout(wild, rows[-1], example_set)
    arrays = Checkpoints(wild / "checkpoints").latest().arrays
    averages = [array for name, array in arrays.items() if name.startswith("averages/")]
    for ours, expected in zip(weights(wild), averages, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_patience_ends_a_run_at_the_same_epoch_though_it_is_killed(
    examples_dir, example_set, wild, tmp_path, monkeypatch
):
    whole = read_metrics(wild / "metrics.jsonl")
    end = end_of(whole, patience=3)
    # Once in the midst of the run, once in its last epoch's checkpoint.
    for saves in (end - 2, 2):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killed_after(saves, patch)
            train(examples_dir, tmp_path / "model", patience=3, **WILD)
    train(examples_dir, tmp_path / "model", patience=3, **WILD)
    rows = read_metrics(tmp_path / "model/metrics.jsonl")
    assert rows == whole[:end]
    assert end < 12
    # What is published is the best model, and not the last.
    best = rows[best_epoch(rows) - 1]
    assert best.epoch == end - 3
    assert_heldout(tmp_path / "model", best, example_set)
    counts = artifacts.load(tmp_path / "model", stage="train").manifest["counts"]
    assert counts["kept"] == dataclasses.asdict(best)
    assert counts["final"] == dataclasses.asdict(rows[-1])
    assert counts["steps"] == 11 * end


def test_a_run_whose_best_and_newest_checkpoints_are_damaged_publishes_the_last_model(
    examples_dir, wild, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(10, patch)
        train(examples_dir, tmp_path / "model", **WILD)
    assert best_epoch(read_metrics(wild / "metrics.jsonl")) < 10  # No other best is to come.
    damaged = newest(tmp_path / "model.draft")
    for path in (damaged, damaged.with_name("best.ckpt")):
        path.write_bytes(path.read_bytes()[:-1])
    train(examples_dir, tmp_path / "model", **WILD)
    said = capsys.readouterr().err
    assert f"warning: checkpoint {damaged} is damaged; using the one before\n" in said
    assert "train: going on from step 99\n" in said
    assert "best held-out ELBO is lost; keeping the last model\n" in said
    # All else is as if nothing had happened.
    for one, other in zip(weights(tmp_path / "model"), weights(wild), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (tmp_path / "model/metrics.jsonl").read_bytes() == (wild / "metrics.jsonl").read_bytes()
    assert newest(tmp_path / "model").read_bytes() == newest(wild).read_bytes()
    kept = artifacts.load(tmp_path / "model", stage="train").manifest["counts"]["kept"]
    assert kept["epoch"] == 12


# Long enough to be caught in the middle.
CAUGHT = QUICK | {"epochs": 30, "optimizer": "adam", "ema_decay": 0.9}


def start(examples_dir, output) -> subprocess.Popen:
    """A real training process."""
    options = {"batch_size": 50, "warmup_steps": 0} | CAUGHT | {"widths": "2,4"}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    return subprocess.Popen(
        command("trainer", "--examples", examples_dir, "--output", output, *arguments),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt(process: subprocess.Popen, draft: Path, number: signal.Signals) -> str:
    """Sends a signal after the process's first checkpoint; what it said."""
    before = newest(draft)
    while newest(draft) == before:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.01)
            raise AssertionError(process.stderr.read())
    process.send_signal(number)
    return process.communicate()[1]


def test_a_run_that_is_killed_and_stopped_goes_on_with_the_same_bits(
    examples_dir, tmp_path, capsys
):
    output, draft = tmp_path / "model", tmp_path / "model.draft"
    process = start(examples_dir, output)
    interrupt(process, draft, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start(examples_dir, output)
        said = interrupt(process, draft, number)
        assert process.returncode == 75, said
        assert "train: going on from step " in said
        stopped = rf"{number.name}: stopped at step (\d+); the same command goes on\n$"
        step = int(re.search(stopped, said)[1])
        assert newest(draft).name == f"step-{step:09d}.ckpt"
    assert not output.exists()
    # The last part runs here, as does the run to compare with: a process takes its time to start.
    train(examples_dir, output, **CAUGHT)
    assert f"train: going on from step {step}\n" in capsys.readouterr().err
    train(examples_dir, tmp_path / "whole", **CAUGHT)
    assert_same_run(output, tmp_path / "whole")

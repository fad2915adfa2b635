import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from etils import epath

from components.base.manifest import load_artifact
from components.data import array_dataset
from components.metrics import constant_baseline
from components.metrics.constant_baseline import constant_elbo, mean_image
from components.model.likelihoods.bernoulli import BERNOULLI, BINARIZED
from components.model.likelihoods.gaussian import GAUSSIAN
from tests.conftest import tiny_train_config
from trainer import diagnosis, stage
from trainer.optimization import schedules
from trainer.recording.epoch_metrics import EpochMetrics, read_metrics


def epoch(rate: float, distortion: float, *, heldout: bool = True) -> EpochMetrics:
    losses = {"loss": rate + distortion, "rate": rate, "distortion": distortion}
    worse = {"loss": 999.0, "rate": 0.0, "distortion": 999.0}
    train, measured = (worse, losses) if heldout else (losses, None)
    return EpochMetrics(1, 10, train, measured, learning_rate=1e-3, beta=1.0)


def findings(row: EpochMetrics, *, steps: int = 100, warmup_steps: int = 0) -> list[str]:
    history = [dataclasses.replace(row, step=steps)]
    found = diagnosis.findings(
        row, history=history, constant_elbo=-50.0, warmup_steps=warmup_steps, beta=1.0
    )
    return [finding.text for finding in found if finding.code != "overfitting"]


def test_the_course_of_a_run_is_judged_by_rate_plus_distortion():
    rows = [
        EpochMetrics(n, 10 * n, {"loss": 1e6, "rate": r, "distortion": d}, None, 1e-3, 0.5)
        for n, (r, d) in enumerate([(30.0, 30.0), (5.0, 40.0), (5e8, 5e8)], start=1)
    ]
    found = diagnosis.loss_findings(
        rows, published=2, constant_elbo=-50.0, warmup_steps=30, beta=1.0
    )
    assert [finding.code for finding in found] == [
        "diverged",
        "warmup_unfinished",
        "beta_unfinished",
    ]
    assert found[0].text == (
        "the training diverged: 45.00 nats in epoch 2 rose to 1,000,000,000.00 in the last epoch, "
        "3; the model of epoch 2 is published: try a lower learning rate, or clip_norm"
    )
    fell = diagnosis.loss_findings(
        rows[:2], published=2, constant_elbo=None, warmup_steps=0, beta=0.5
    )
    assert [finding.code for finding in fell] == ["underfitting"]


def test_a_density_of_images_has_no_baseline(example_set):
    assert diagnosis.baseline_elbo(GAUSSIAN, example_set, "train", None) is None
    bernoulli, binarized = (
        diagnosis.baseline_elbo(family, example_set, "train", None)
        for family in (BERNOULLI, BINARIZED)
    )
    assert bernoulli == binarized


@pytest.mark.parametrize("heldout", [True, False])
@pytest.mark.parametrize(
    ("rate", "distortion", "expected"),
    [
        (5.0, 44.9, []),
        (5.0, 45.0, ["ELBO of -50.00 nats is no better than that of a constant image (-50.00"]),
        (0.1, 40.0, []),
        (0.09, 40.0, ["rate of 0.09 nats is near 0"]),
        (0.0, 60.0, ["ELBO of -60.00 nats", "rate of 0 nats is near 0"]),
    ],
)
def test_a_poor_elbo_and_a_rate_near_0_are_found(rate, distortion, heldout, expected):
    notes = findings(epoch(rate, distortion, heldout=heldout))
    kind = "held-out" if heldout else "train"
    assert len(notes) == len(expected)
    for note, text in zip(notes, expected, strict=True):
        assert f"the {kind} {text}" in note
        assert "\n" not in note


@pytest.mark.parametrize(("warmup_steps", "count"), [(0, 0), (99, 0), (100, 1), (150, 1)])
def test_a_warm_up_that_does_not_end_is_found(warmup_steps, count):
    notes = findings(epoch(5.0, 30.0), warmup_steps=warmup_steps)
    assert len(notes) == count
    assert all(
        f"the warm-up of {warmup_steps} steps did not end within the 100" in n for n in notes
    )


@pytest.mark.parametrize("has_heldout", [True, False])
def test_the_baseline_predicts_the_mean_of_the_training_images(example_set, has_heldout):
    train, heldout = example_set.images("train"), example_set.images("validation")
    elbo = diagnosis.baseline_elbo(
        BERNOULLI, example_set, "train", heldout if has_heldout else None
    )
    mean = mean_image([train])
    expected = constant_elbo(mean, mean_image([heldout]) if has_heldout else mean)
    assert elbo == pytest.approx(expected, rel=1e-12)


def test_a_large_training_split_is_not_read_completely(example_set, monkeypatch):
    batches = [batch.images for batch in example_set.batches("train")]
    assert len(batches) == 1
    rows: list[int] = []

    class ManyBatches:
        def batches(self, split):
            assert split == "train"
            for _ in range(1000):
                rows.append(len(batches[0]))
                yield type("Batch", (), {"images": batches[0]})

    elbo = diagnosis.baseline_elbo(BERNOULLI, ManyBatches(), "train", None)
    assert elbo == pytest.approx(diagnosis.baseline_elbo(BERNOULLI, example_set, "train", None))
    assert 10_000 <= sum(rows) < 10_000 + len(batches[0])


def test_a_prepared_dataset_of_one_image_over_and_over_is_found(example_set, tmp_path):
    assert diagnosis.image_findings(example_set, "train") == []
    images = np.repeat(example_set.images("train")[:1], 40, axis=0)
    splits = {"train": (images, np.zeros(40, np.int64))}
    same = array_dataset.write(epath.Path(tmp_path / "examples"), splits, num_classes=1)
    (finding,) = diagnosis.image_findings(same, "train")
    assert (finding.code, finding.severity) == ("constant_inputs", "error")


# Enough to learn something in a second.
HEALTHY = {"widths": (32,), "epochs": 20, "learning_rate": 0.01, "optimizer": "adam"}
# Not compiled by XLA, which saves seconds per run.
QUICK = {"network": "conv", "widths": (2, 4), "epochs": 1}


def notes_of(examples_dir, output, **fields) -> list[str]:
    config = tiny_train_config(**HEALTHY | fields)
    stage.run("mlp", config, examples=examples_dir, output=output)
    return load_artifact(output, stage="train").manifest.notes


def test_a_healthy_model_has_no_notes(examples_dir, tmp_path, capsys):
    assert notes_of(examples_dir, tmp_path / "model") == []
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(("likelihood", "is_compared"), [("binarized", True), ("gaussian", False)])
def test_only_a_bernoulli_is_compared_with_a_constant_image(
    likelihood, is_compared, examples_dir, tmp_path
):
    # After one epoch, such a network is worse than a constant image.
    notes = notes_of(examples_dir, tmp_path / "model", **QUICK, likelihood=likelihood)
    assert any("that of a constant image" in note for note in notes) == is_compared


def test_a_huge_beta_collapses_the_posterior(examples_dir, tmp_path, capsys):
    notes = notes_of(examples_dir, tmp_path / "model", beta=1e4, keep="last")
    assert any("is near 0, so the latents carry no information" in note for note in notes)
    output = capsys.readouterr().err
    assert all(f"warning: {note}\n" in output for note in notes)


def test_a_decoder_that_ignores_its_latents_is_no_better_than_a_constant(
    examples_dir, tmp_path, monkeypatch
):
    from components.model.inference import OneLevel

    decode = OneLevel.decode
    monkeypatch.setattr(
        OneLevel, "decode", lambda self, z, condition=None: decode(self, 0.0 * z, condition)
    )
    notes = notes_of(examples_dir, tmp_path / "model", beta=10.0)
    assert any("is no better than that of a constant image" in note for note in notes)
    assert any("is near 0" in note for note in notes)


def test_an_exploded_loss_is_said_at_the_end(examples_dir, tmp_path, monkeypatch, capsys):
    def learning_rate(self, done):
        return tf.where(done < 25, np.float32(1e-3), np.float32(30))  # In the third epoch.

    monkeypatch.setattr(schedules.LearningRate, "__call__", learning_rate)
    notes = notes_of(examples_dir, tmp_path / "model", **QUICK | {"epochs": 3})
    assert any("the training diverged: " in note for note in notes)
    assert "warning: the training diverged: " in capsys.readouterr().err


def test_a_warm_up_over_the_whole_run_is_said_at_its_end(examples_dir, tmp_path, capsys):
    fields = QUICK | {"warmup_steps": 500, "warmup_share": 1.0}
    notes = notes_of(examples_dir, tmp_path / "model", **fields)
    assert any("the warm-up of 11 steps did not end within the 11 steps" in n for n in notes)
    output = capsys.readouterr().err
    assert "train: 11 warm-up steps instead of 500, since the run has 11 steps" in output
    (row,) = read_metrics(tmp_path / "model/metrics.jsonl")
    assert row.learning_rate == pytest.approx(0.01 * np.cos(np.pi * 10 / 22) ** 2, rel=1e-5)


def test_the_baseline_is_in_the_units_of_the_elbo(example_set):
    """The ELBO of a constant image is that of a model with this constant, in nats per image."""
    from components.metrics.elbo import estimate_elbo
    from components.model.vae import VAE

    heldout = example_set.images("validation")
    vae = VAE(image_shape=example_set.image_shape, network="mlp", latents=2, widths=(4,))
    mean = np.clip(mean_image([example_set.images("train")]), 1e-6, 1 - 1e-6)
    *weights, bias = [np.zeros_like(weight) for weight in vae.get_weights()]
    vae.set_weights([*weights, np.log(mean / (1 - mean)).reshape(bias.shape)])
    scores = estimate_elbo(vae, heldout, seed=0)
    assert scores.rate.max() == 0
    baseline = diagnosis.baseline_elbo(BERNOULLI, example_set, "train", heldout)
    assert baseline == pytest.approx(scores.elbo.mean(dtype=np.float64), rel=1e-5)
    assert constant_baseline.constant_elbo(mean, mean_image([heldout])) == pytest.approx(baseline)

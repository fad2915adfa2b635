import dataclasses
import math
import os
from types import SimpleNamespace

import pytest

from components.base.manifest import MANIFEST
from pipeline.evaluate.report import texts
from pipeline.evaluate.report.explorer import Explorer
from tests.pipeline.evaluate.report.subjects import EPOCHS, report_subject
from trainer.train_counts import TrainCounts

COUNTS = TrainCounts(
    parameters=5678,
    steps=90,
    precision="float32",
    devices=["GPU", "GPU"],
    hosts=1,
    kept=EPOCHS[0],
    final=EPOCHS[1],
)


def plot(**fields) -> Explorer:
    data = {"names": ["a", "b", "c"], "counts": [2000, 0, 5], "colors": ["#1", "#2", "#3"]}
    return Explorer(**({"data": data, "shown": 4, "total": 9, "is_exact": True} | fields))


def test_the_facts_say_what_was_trained_and_when(example_set, model_dir, tmp_path):
    subject = report_subject(example_set, model_dir)
    (tmp_path / MANIFEST).touch()
    os.utime(tmp_path / MANIFEST, (0, 1_700_000_000))
    moved = dataclasses.replace(subject.trained, path=tmp_path)
    facts = texts.facts(dataclasses.replace(subject, trained=moved), COUNTS)
    assert facts == [
        "mlp network, 2 latents, 5,678 parameters",
        "28x28x1 images, bernoulli likelihood",
        "trained on 14 November 2023",
        "measured on 1,234 test examples",
    ]


def test_the_training_says_which_epoch_was_kept(example_set, model_dir):
    subject = report_subject(example_set, model_dir)
    text = texts.training(subject, COUNTS)
    assert text.startswith("2 epochs of 90 steps in all, float32 on 2 x GPU, in ")
    assert text.endswith("The model is that of epoch 1.")
    last = dataclasses.replace(COUNTS, kept=EPOCHS[1])
    assert "The model is" not in texts.training(subject, last)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.2, "5 seconds"), (601, "10 minutes"), (9000, "2.5 hours")]
)
def test_durations_are_round(seconds, text):
    assert texts._duration(seconds) == text


def test_charts_have_a_held_out_curve_only_if_it_was_measured():
    names = [[curve.name for curve in chart.curves] for chart in texts.charts(EPOCHS)]
    assert names == [["training", "held out"]] * 3
    without = [dataclasses.replace(epoch, heldout=None) for epoch in EPOCHS]
    charts = texts.charts(without)
    assert [chart.title for chart in charts] == ["Loss", "Distortion", "Rate"]
    assert [[curve.name for curve in chart.curves] for chart in charts] == [["training"]] * 3


def test_the_legend_has_the_classes_with_points():
    assert [(row["index"], row["count"]) for row in texts.legend(plot())] == [
        (0, "2,000"),
        (2, "5"),
    ]


def test_a_choice_of_points_is_said():
    assert "4 of 9 are shown, chosen evenly by class" in texts.chosen(plot())
    assert texts.chosen(plot(shown=9)) == ""


def test_how_the_handle_is_decoded_is_said():
    architecture = SimpleNamespace(classes=0)
    subject = SimpleNamespace(vae=SimpleNamespace(architecture=architecture))
    assert "computes the decoder itself, at any point" in texts.decoding(subject, plot())
    assert "interpolated" in texts.decoding(subject, plot(is_exact=False))
    subject.space, subject.class_names = SimpleNamespace(label=1), ["cat", "dog"]
    architecture.classes = 2
    assert "itself, given dog, at any point" in texts.decoding(subject, plot())


def test_bars_are_ordered_shares_of_the_largest():
    bars = texts.bars([1.0, 4.0, -1.0])
    assert bars["heights"] == ["100.0", "25.0", "0.0"]
    assert "from 4.00 down to -1.00" in bars["caption"]
    many = texts.bars(list(map(float, range(300))))
    assert len(many["heights"]) == 256
    assert "the 256 largest of 300" in many["caption"]


@pytest.mark.parametrize("rates", [None, [1.0, 1.0], [1.0, math.nan, 2.0]])
def test_few_or_unknown_rates_have_no_bars(rates):
    assert texts.bars(rates) is None


def test_settings_and_digests_are_complete(example_set, model_dir):
    subject = report_subject(example_set, model_dir)
    groups = dict(texts.configs(subject))
    trained = subject.trained.manifest
    assert dict(groups["Settings of the training"]).keys() == trained.config.keys()
    assert dict(groups["Settings of the training"])["widths"] == "16"
    assert dict(groups["Settings of the data"])["image_size"] == "not set"
    assert dict(groups["Versions in training"]) == trained.versions
    digests = dict(texts.digests(subject))
    assert digests["model.keras"] == trained.outputs["model.keras"].sha256
    assert digests["examples"] == example_set.artifact.fingerprint

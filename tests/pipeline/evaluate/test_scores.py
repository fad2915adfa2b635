import dataclasses
import json
import math

import pytest
from etils import epath

from components.base.errors import WorkError
from components.base.manifest import Artifact, Manifest
from components.metrics.doctor import WARNING, Finding
from components.metrics.mean import Mean
from pipeline.evaluate.class_means import ClassMean
from pipeline.evaluate.metrics import METRICS
from pipeline.evaluate.scores import Scores, ScoringProtocol

SCORES = Scores(
    dataset="cats",
    preset="mlp",
    split="test",
    examples=1234,
    draws=4,
    means={
        "elbo": Mean(-30.0, 0.5),
        "rate": Mean(10.0, 0.25),
        "distortion": Mean(20.0, 0.125),
        "nll": Mean(29.0, 0.5),
        "psnr": Mean(18.5, 0.125),
        "knn_accuracy": Mean(0.875, 0.03125),
        "active_units": Mean(2.0, math.inf),
    },
    protocol=ScoringProtocol(
        importance_samples=100,
        psnr_examples=334,
        knn_k=7,
        knn_splits="fitted on train, k chosen on validation, scored on test",
        knn_examples=1234,
        linear_probe_penalty=1e-3,
        linear_probe_splits="fitted on train, penalty fixed, scored on validation",
        linear_probe_examples=1234,
        information_examples=1000,
        information_draws=500,
    ),
    not_measured={"bits_per_dim": "it is not of bytes"},
    rate_per_dimension=[9.0, 1.0],
    by_class={"elbo": {"a cat": ClassMean(Mean(-29.0, 0.75), 617)}},
    doctor=[Finding("dead_units", WARNING, "9 of 10 latents are dead")],
)


def test_the_json_value_is_that_of_metrics_json():
    assert json.dumps(SCORES.as_json()) == (
        '{"dataset": "cats", "preset": "mlp", "split": "test", "examples": 1234, "draws": 4, '
        '"unit": "nats per example", "elbo": {"mean": -30.0, "half_width_95": 0.5}, '
        '"rate": {"mean": 10.0, "half_width_95": 0.25}, '
        '"distortion": {"mean": 20.0, "half_width_95": 0.125}, '
        '"nll": {"mean": 29.0, "half_width_95": 0.5}, '
        '"psnr": {"mean": 18.5, "half_width_95": 0.125}, '
        '"knn_accuracy": {"mean": 0.875, "half_width_95": 0.03125}, '
        '"active_units": {"mean": 2.0, "half_width_95": null}, '
        '"protocol": {"likelihood": null, "given": null, "binarization_seed": null, '
        '"importance_samples": 100, "weights": null, "examples_in_split": null, '
        '"psnr_examples": 334, "denoised_corruption": null, "denoised_examples": null, "knn_k": 7, '
        '"knn_splits": "fitted on train, k chosen on validation, scored on test", '
        '"knn_examples": 1234, "linear_probe_penalty": 0.001, '
        '"linear_probe_splits": "fitted on train, penalty fixed, scored on validation", '
        '"linear_probe_examples": 1234, "information_examples": 1000, "information_draws": 500, '
        '"samples": null, "samples_are": null, "floor_examples": null, '
        '"feature_accuracy": null, "feature_digest": null}, '
        '"not_measured": {"bits_per_dim": "it is not of bytes"}, '
        '"rate_per_dimension": [9.0, 1.0], "by_class": {"elbo": {"a cat": '
        '{"mean": -29.0, "half_width_95": 0.75, "examples": 617}}}, '
        '"doctor": [{"code": "dead_units", "severity": "warning", '
        '"text": "9 of 10 latents are dead"}]}'
    )


def artifact(counts) -> Artifact:
    """An evaluation with the given counts."""
    counts = json.loads(json.dumps(counts))
    return Artifact(epath.Path("evaluation"), Manifest(1, "evaluate", {}, {}, {}, counts, []))


def test_scores_are_restored_from_the_manifest():
    assert Scores.of(artifact(SCORES.as_json())) == SCORES


@pytest.mark.parametrize(
    "change",
    [
        {"elbo": -30.0},
        {"examples": "many"},
        {"more": 1},
        {"rate": {"mean": 1.0}},
        {"protocol": {"importance_samples": "many"}},
        {"protocol": {"more": 1}},
        {"by_class": {"elbo": {"cat": {"mean": 1.0, "half_width_95": None}}}},
        {"not_measured": ["nll"]},
        {"doctor": [{"code": "dead_units", "severity": "warning", "text": 1}]},
        {"rate_per_dimension": ["much"]},
    ],
)
def test_other_counts_are_an_error_of_one_line(change):
    with pytest.raises(WorkError, match=r"^evaluation/manifest.json is damaged: counts\.\S+ is "):
        Scores.of(artifact(SCORES.as_json() | change))


def test_an_evaluation_of_an_earlier_version_has_no_protocol():
    counts = SCORES.as_json()
    for name in (
        "protocol",
        "nll",
        "psnr",
        "knn_accuracy",
        "not_measured",
        "by_class",
        "active_units",
        "doctor",
    ):
        del counts[name]
    scores = Scores.of(artifact(counts))
    assert scores.protocol == ScoringProtocol()
    assert scores.doctor is None
    assert list(scores.means) == ["elbo", "rate", "distortion"]


def test_the_sentence_says_what_decides_the_scores():
    sentence = SCORES.how_measured()
    assert "a linear probe of the embeddings, fitted on train, penalty fixed, scored" in sentence
    assert "with a penalty of 0.001" in sentence
    information = "500 draws against the posteriors of 1,000 examples for the mutual information"
    assert f"{information}, which is at most 6.91 nats" in sentence
    assert dataclasses.replace(SCORES, protocol=ScoringProtocol()).how_measured() == (
        "Measured with 4 draws of z per example for the ELBO."
    )


def test_the_ends_of_an_interval_around_another_middle_are_kept():
    recall, of_class = Mean(0.0, 0.01, (0.0, 0.02)), Mean(0.5, 0.25, (0.2, 0.7))
    scores = dataclasses.replace(
        SCORES,
        means={**SCORES.means, "recall": recall},
        by_class={"knn_accuracy": {"a cat": ClassMean(of_class, 6)}},
    )
    counts = scores.as_json()
    assert counts["recall"] == {"mean": 0.0, "half_width_95": 0.01, "interval_95": [0.0, 0.02]}
    assert Scores.of(artifact(counts)) == scores


def test_what_was_scored_fits_a_terminal():
    assert SCORES.measured_on() == ["measured on 1,234 test examples, 4 draws of z each"]
    protocol = ScoringProtocol(given="label", examples_in_split=100_000)
    some = dataclasses.replace(SCORES, split="validation", examples=10_000, protocol=protocol)
    assert some.measured_on() == [
        "measured on the first 10,000 of 100,000 validation examples, 4 draws of z each",
        "the label of every example is given: all is of p(x|y)",
    ]
    assert max(map(len, some.measured_on())) <= 80


def test_metrics_are_found_by_name():
    values = [SCORES.metric(name).value for name in SCORES.means]
    assert values == [-30.0, 10.0, 20.0, 29.0, 18.5, 0.875, 2.0]
    with pytest.raises(KeyError):
        SCORES.metric("loss")
    assert SCORES.means.keys() <= METRICS.keys()


def test_the_json_value_holds_no_infinity():
    single = dataclasses.replace(
        SCORES, examples=1, means={**SCORES.means, "elbo": Mean(-30.0, math.inf)}
    )
    text = json.dumps(single.as_json(), allow_nan=False)
    assert json.loads(text)["elbo"] == {"mean": -30.0, "half_width_95": None}
    assert Scores.of(artifact(json.loads(text))) == single


def test_the_features_that_samples_are_compared_in_are_said():
    protocol = ScoringProtocol(
        samples=167, samples_are="each a mean", floor_examples=150, feature_accuracy=0.8742
    )
    text = dataclasses.replace(SCORES, protocol=protocol).how_measured()
    assert "167 samples, each a mean, against as many examples" in text
    assert "in the features of a classifier with an accuracy of 87.4%" in text
    assert "150 train examples for the floors" in text
    assert "samples" not in dataclasses.replace(SCORES, protocol=ScoringProtocol()).how_measured()

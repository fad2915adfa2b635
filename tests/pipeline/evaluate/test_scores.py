import dataclasses
import json
import math

import pytest
from etils import epath

from components.base.errors import WorkError
from components.base.manifest import Artifact, Manifest
from components.metrics.mean import Mean
from pipeline.evaluate.scores import METRICS, Scores, ScoringProtocol, bits_per_dim

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
    },
    protocol=ScoringProtocol(
        importance_samples=100,
        psnr_examples=334,
        knn_k=7,
        knn_splits="fitted on train, k chosen on validation, scored on test",
        knn_examples=1234,
    ),
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
        '"protocol": {"likelihood": null, "given": null, "binarization_seed": null, '
        '"importance_samples": 100, "weights": null, "examples_in_split": null, '
        '"psnr_examples": 334, "knn_k": 7, '
        '"knn_splits": "fitted on train, k chosen on validation, scored on test", '
        '"knn_examples": 1234}}'
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
    ],
)
def test_other_counts_are_an_error_of_one_line(change):
    with pytest.raises(WorkError, match=r"^evaluation/manifest.json is damaged: counts\.\S+ is "):
        Scores.of(artifact(SCORES.as_json() | change))


def test_an_evaluation_of_an_earlier_version_has_no_protocol():
    counts = SCORES.as_json()
    del counts["protocol"], counts["nll"], counts["psnr"], counts["knn_accuracy"]
    scores = Scores.of(artifact(counts))
    assert scores.protocol == ScoringProtocol()
    assert list(scores.means) == ["elbo", "rate", "distortion"]


def test_metrics_are_found_by_name():
    values = [SCORES.metric(name).value for name in SCORES.means]
    assert values == [-30.0, 10.0, 20.0, 29.0, 18.5, 0.875]
    with pytest.raises(KeyError):
        SCORES.metric("loss")
    assert SCORES.means.keys() <= METRICS.keys()


def test_bits_per_dim_of_a_uniform_guess_over_256_levels():
    nats = Mean(784 * math.log(256), math.log(256))
    bits = bits_per_dim(nats, 784)
    assert bits.value == pytest.approx(8)
    assert bits.half_width == pytest.approx(8 / 784)


def test_the_json_value_holds_no_infinity():
    single = dataclasses.replace(
        SCORES, examples=1, means={**SCORES.means, "elbo": Mean(-30.0, math.inf)}
    )
    text = json.dumps(single.as_json(), allow_nan=False)
    assert json.loads(text)["elbo"] == {"mean": -30.0, "half_width_95": None}
    assert Scores.of(artifact(json.loads(text))) == single

import math
import re

import pytest
from etils import epath

from components.base.artifacts import ArtifactPlan
from components.base.errors import ConfigError, WorkError
from components.metrics.doctor import ERROR, WARNING, Finding
from components.metrics.mean import Mean
from pipeline.evaluate.gates import Gate, Requirements
from pipeline.evaluate.metrics import METRICS
from pipeline.evaluate.scores import Scores

COLLAPSE = Finding("posterior_collapse", ERROR, "the rate is near 0")
UNDERFIT = Finding("underfitting", WARNING, "the loss still fell")


def published(directory, findings=()):
    """An evaluation with known scores."""
    means = {"elbo": Mean(-240.5, 1.5), "rate": Mean(7.0, 0.1), "distortion": Mean(233.5, 1.4)}
    means["psnr"] = Mean(20.0, math.inf)
    means["kid"] = Mean(0.12345678, 0.001)
    not_measured = {"nll": "it needs --importance_samples"}
    scores = Scores(
        "garments", "mlp", "test", 100, 4, means, not_measured=not_measured, doctor=findings
    )
    plan = ArtifactPlan(stage="evaluate", directory=epath.Path(directory), config={}, inputs={})
    with plan.publish() as draft:
        draft.counts = scores.as_json()
    return directory


def check(directory, *gates: str, is_strict: bool = False) -> None:
    Requirements.parse(gates, is_strict=is_strict, metrics=METRICS).check(directory)


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("elbo>=-240", Gate("elbo", ">=", -240.0)),
        (" knn_accuracy > 0.85 ", Gate("knn_accuracy", ">", 0.85)),
        ("rate<1e2", Gate("rate", "<", 100.0)),
        ("nll<=226.5", Gate("nll", "<=", 226.5)),
        ("elbo>=-262.8994", Gate("elbo", ">=", -262.8994)),
    ],
)
def test_a_gate_is_a_metric_a_comparison_and_a_number(text, gate):
    assert Gate.parse(text) == gate
    assert Gate.parse(str(gate)) == gate


@pytest.mark.parametrize(
    "text", ["", "elbo", "elbo>=", "elbo=>-240", "elbo==1", ">=3", "elbo>=nan", "rate<inf", "a>=b"]
)
def test_another_form_is_refused_in_one_line(text):
    with pytest.raises(ConfigError, match=r"is not a metric, one of >=, <=, >, < and a") as error:
        Gate.parse(text)
    assert "\n" not in str(error.value)


def test_an_unknown_metric_is_refused_with_the_nearest_ones():
    with pytest.raises(ConfigError, match="unknown metric 'knn_acuracy'; nearest: knn_accuracy"):
        Gate.parse("knn_acuracy>=0.9")


def test_a_gate_on_a_metric_that_is_not_measured_is_refused():
    with pytest.raises(ConfigError, match="--gate 'fid<=1': fid is not among the metrics of --met"):
        Requirements.parse(["elbo>=-240", "fid<=1"], is_strict=False, metrics=["elbo", "rate"])


def test_gates_compare_with_the_mean(tmp_path):
    directory = published(tmp_path / "evaluation")
    check(directory, "elbo>=-240.5", "elbo<=-240.5", "rate>6.9", "rate<7.1", "psnr>19")
    for gate, message in (
        ("elbo>-240.5", "gate elbo>-240.5 failed: elbo is -240.5"),
        ("elbo<-240.5", "gate elbo<-240.5 failed: elbo is -240.5"),
        ("rate>=7.1", "gate rate>=7.1 failed: rate is 7"),
        ("rate>7.0000001", "gate rate>7.0000001 failed: rate is 7"),
        ("nll<=240", "gate nll<=240 failed: this evaluation has no nll: it needs --importance_s"),
        ("fid<=9", "gate fid<=9 failed: this evaluation has no fid: it was not asked for with --m"),
    ):
        with pytest.raises(WorkError, match=re.escape(f"{directory}: {message}")):
            check(directory, "psnr>19", gate)


def test_a_value_that_would_pass_when_it_is_rounded_has_all_digits(tmp_path):
    directory = published(tmp_path / "evaluation")
    with pytest.raises(WorkError, match=r"gate kid>=0\.123457 failed: kid is 0\.12345678"):
        check(directory, "kid>=0.123457")


def test_all_requirements_that_are_not_met_are_named(tmp_path):
    directory = published(tmp_path / "evaluation", [COLLAPSE, UNDERFIT])
    with pytest.raises(WorkError) as error:
        check(directory, "elbo>=0", "psnr>=10", "rate>=8", is_strict=True)
    assert str(error.value) == (
        f"{directory}: gate elbo>=0 failed: elbo is -240.5; gate rate>=8 failed: rate is 7; "
        "the rate is near 0"
    )


def test_only_errors_of_the_doctor_fail_a_strict_check(tmp_path):
    check(published(tmp_path / "warned", [UNDERFIT]), is_strict=True)
    check(published(tmp_path / "ill", [COLLAPSE]))
    with pytest.raises(WorkError, match="the rate is near 0"):
        check(tmp_path / "ill", is_strict=True)


def test_an_evaluation_that_no_doctor_has_seen_is_not_taken_for_healthy(tmp_path):
    directory = published(tmp_path / "evaluation", None)
    check(directory, "elbo>=-300")
    with pytest.raises(WorkError, match="made by a version without the doctor; evaluate again"):
        check(directory, is_strict=True)

import numpy as np

from components.metrics.elbo import estimate_elbo
from components.metrics.mean import Mean
from pipeline.evaluate.measures.measure import Measured

ELBO = Measured(
    {"elbo": Mean(-3.0, 1.0), "rate": Mean(1.0, 0.5)},
    {"elbo": np.array([-4.0, -2.0])},
    {"knn_k": 3},
    {"nll": "it needs draws"},
)
PSNR = Measured({"psnr": Mean(20.0, 1.0)}, protocol={"psnr_examples": 2})


def test_what_several_measures_found_is_joined():
    both = Measured.merged([ELBO, PSNR])
    assert list(both.means) == ["elbo", "rate", "psnr"]
    assert both.by_example == ELBO.by_example
    assert both.protocol == {"knn_k": 3, "psnr_examples": 2}
    assert both.not_measured == ELBO.not_measured
    assert Measured.merged([]) == Measured()


def test_only_the_metrics_of_given_names_are_kept():
    kept = Measured.merged([ELBO, PSNR]).restricted(["rate", "psnr", "knn_accuracy"])
    assert list(kept.means) == ["rate", "psnr"]
    assert kept.by_example == kept.not_measured == {}
    assert kept.protocol == {"knn_k": 3, "psnr_examples": 2}


def test_a_subject_knows_what_is_asked_for(subject):
    asked = subject(metrics=("psnr",))
    assert asked.wants("psnr")
    assert asked.wants("nll", "elbo")
    assert not asked.wants("nll", "knn_accuracy")


def test_the_bound_is_that_of_the_scored_examples_and_is_computed_once(subject):
    scored = subject(limit_examples=30, draws=2, draws_seed=5)
    expected = estimate_elbo(scored.model, scored.examples.images, seed=5, samples=2)
    np.testing.assert_array_equal(scored.bound.elbo, expected.elbo)
    assert len(scored.bound.elbo) == 30
    assert scored.bound is scored.bound

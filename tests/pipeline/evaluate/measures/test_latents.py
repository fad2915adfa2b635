import dataclasses
import math

import keras
import numpy as np
import pytest

from components.metrics.aggregate_posterior import example_information
from components.metrics.elbo import estimate_elbo
from components.metrics.information_gap import information_gap
from components.metrics.mean import Mean
from components.model.encode import encode
from components.model.vae import VAE
from pipeline.evaluate.measures.latents import (
    ActiveUnitsMeasure,
    GapMeasure,
    InformationMeasure,
)
from pipeline.evaluate.measures.measure import Subject


def having(subject: Subject, **fields) -> Subject:
    """A subject with another model, or with other posteriors."""
    names = {field.name for field in dataclasses.fields(Subject)}
    copy = dataclasses.replace(subject, **{k: v for k, v in fields.items() if k in names})
    vars(copy).update({k: v for k, v in fields.items() if k not in names})
    return copy


def of_model(subject: Subject, **settings) -> Subject:
    """The subject with a new model."""
    keras.utils.set_random_seed(0)
    settings = {"network": "mlp", "latents": 3, "widths": (8,)} | settings
    return having(subject, model=VAE(image_shape=(28, 28, 1), **settings))


@pytest.mark.parametrize("planted", [0, 1, 3])
def test_planted_units_are_active(subject, planted):
    scored = of_model(subject(limit_examples=50))
    kernel, bias = scored.model.encoder.layers[-1].get_weights()
    kernel[:, planted:3] = 0
    kernel[:, :planted] *= 10
    scored.model.encoder.layers[-1].set_weights([kernel, bias + 1])
    measured = ActiveUnitsMeasure().measure(scored)
    assert measured.means == {"active_units": Mean(planted, math.inf)}


def test_the_two_parts_of_the_rate_add_up_to_it(subject):
    scored = subject(draws_seed=3)
    measured = InformationMeasure().measure(scored)
    posteriors = encode(scored.model, scored.examples.images)
    expected = example_information(*posteriors, seed=3)
    information, marginal = (measured.means[name] for name in InformationMeasure.names)
    assert information == Mean.of(expected.values)
    rate = Mean.of(estimate_elbo(scored.model, scored.examples.images, seed=3, samples=4).rate)
    assert information.value + marginal.value == pytest.approx(rate.value, rel=1e-9)
    assert marginal.half_width == pytest.approx(math.hypot(rate.half_width, information.half_width))
    assert measured.protocol == {"information_examples": 100, "information_draws": 100}


def test_a_collapsed_posterior_has_no_information_and_the_prior_as_aggregate(subject):
    scored = of_model(subject(limit_examples=50))
    last = scored.model.encoder.layers[-1]
    last.set_weights([np.zeros_like(weight) for weight in last.get_weights()])
    means = InformationMeasure().measure(scored).means
    assert means["mutual_information"].value == pytest.approx(0, abs=1e-9)
    assert means["marginal_kl"].value == pytest.approx(0, abs=1e-9)


def test_posteriors_of_a_binarized_model_are_those_of_the_elbo(subject):
    scored = of_model(subject(limit_examples=50), likelihood="binarized")
    means, log_variances = scored.posteriors
    rate = 0.5 * (np.exp(log_variances) + np.square(means) - 1 - log_variances).sum(axis=1)
    np.testing.assert_allclose(rate, scored.bound.rate, rtol=1e-4, atol=1e-5)
    others, _ = encode(scored.model, scored.examples.images)
    assert np.abs(others - means).max() > 1e-3


def test_the_gap_is_that_of_the_labels(subject):
    scored = subject()
    gaps = information_gap(*scored.posteriors, scored.examples.labels)
    assert GapMeasure().measure(scored).means == {"mig": Mean.of(gaps)}


def test_a_latent_that_holds_the_label_has_the_whole_gap(subject):
    scored = subject()
    labels = scored.examples.labels
    rng = np.random.default_rng(0)
    means = np.stack([labels * 10.0, rng.normal(size=len(labels))], axis=1)
    planted = having(scored, posteriors=(means, np.full(means.shape, [[-2.0, 4.0]])))
    assert GapMeasure().measure(planted).means["mig"].value == pytest.approx(1, abs=0.1)


def test_unlabelled_examples_have_no_gap(subject):
    scored = subject()
    labels = np.zeros_like(scored.examples.labels)
    one = having(scored, examples=dataclasses.replace(scored.examples, labels=labels))
    assert GapMeasure().measure(one).not_measured == {
        "mig": "it needs labels of two or more classes"
    }


@pytest.mark.parametrize("measure", [InformationMeasure(), GapMeasure()])
def test_a_hierarchy_has_a_reason_instead(subject, measure):
    settings = {"network": "residual", "widths": (4, 4, 4), "levels": 2}
    measured = measure.measure(of_model(subject(limit_examples=5), **settings))
    assert measured.means == {}
    reason = "the posteriors of a hierarchy of latents are not normal distributions"
    assert measured.not_measured == dict.fromkeys(measure.names, reason)

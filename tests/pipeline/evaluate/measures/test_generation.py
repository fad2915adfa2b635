import dataclasses

import keras
import numpy as np
import pytest

from components.metrics.frechet_distance import frechet_distance
from components.metrics.kernel_distance import kernel_distance
from components.metrics.precision_recall import precision_and_recall
from components.model import embeddings
from components.model.samplers import AggregateSampler, PriorSampler
from components.model.vae import VAE
from pipeline.evaluate import feature_cache
from pipeline.evaluate.measures import generation
from pipeline.evaluate.measures.generation import GenerationMeasure, num_samples, sample_features

MEASURE = GenerationMeasure()


def test_samples_are_compared_with_the_scored_examples(subject):
    scored = subject(limit_examples=40, draws_seed=3)
    measured = MEASURE.measure(scored)
    found = feature_cache.classifier_of(scored.dataset)
    classifier = found.classifier
    samples = sample_features(scored.model, classifier, scored.examples.labels, seed=3)
    reference = classifier.features(scored.examples.images)
    density = AggregateSampler.fit(embeddings.read(*scored.tables["train"]))
    drawn = sample_features(
        scored.model, classifier, scored.examples.labels, seed=3, sampler=density
    )
    train = classifier.features(scored.dataset.head("train", 40).images)
    precision, recall = precision_and_recall(samples, reference)
    assert measured.means == {
        "fid": frechet_distance(samples, reference),
        "kid": kernel_distance(samples, reference),
        "fid_aggregate": frechet_distance(drawn, reference),
        "kid_aggregate": kernel_distance(drawn, reference),
        "precision": precision,
        "recall": recall,
        "fid_floor": frechet_distance(train, reference),
        "kid_floor": kernel_distance(train, reference),
    }
    assert measured.means["fid"].value > 2 * measured.means["fid_floor"].value
    protocol = dict(measured.protocol)
    assert len(protocol.pop("feature_digest")) == 16
    assert protocol.pop("feature_accuracy") == found.score.accuracy
    assert protocol.pop("samples_are").startswith("each the mean of the likelihood")
    assert protocol == {"samples": 40, "floor_examples": 40}
    assert measured.not_measured == {}


def test_test_images_in_place_of_samples_have_the_distance_0(subject, monkeypatch):
    scored = subject(limit_examples=40)
    images = scored.examples.images
    parts = images[:15], images[15:]
    monkeypatch.setattr(generation, "_samples", lambda *_, **__: iter(parts))
    means = MEASURE.measure(scored).means
    assert means["fid"].value == pytest.approx(0, abs=1e-3)
    assert (means["precision"].value, means["recall"].value) == (1, 1)


def test_the_samples_depend_on_the_seed_alone(subject):
    scored = subject()
    classifier = feature_cache.classifier_of(scored.dataset).classifier
    labels = np.zeros(20, np.int64)
    first, again, other = (
        sample_features(scored.model, classifier, labels, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_conditional_model_is_given_the_labels_of_the_examples():
    keras.utils.set_random_seed(0)
    model = VAE(image_shape=(6, 5, 1), network="mlp", latents=3, widths=(8,), classes=4)
    labels, prior = np.array([0, 3, 0, 3]), PriorSampler(model)
    (of_labels,) = generation._samples(model, labels, seed=0, sampler=prior)
    (of_others,) = generation._samples(model, np.array([0, 1, 0, 1]), seed=0, sampler=prior)
    assert of_labels.dtype == np.uint8
    is_equal = (of_labels == of_others).all(axis=(1, 2, 3))
    assert is_equal.tolist() == [True, False, True, False]


def test_a_head_that_decodes_in_turn_draws_less_samples(subject, monkeypatch):
    model = subject().model
    assert num_samples(model, 3_000) == 3_000
    assert num_samples(model, 30_000) == 10_000
    monkeypatch.setattr(generation, "_MAX_TURNS", 50)
    causal = VAE(
        image_shape=(5, 2, 1), network="mlp", latents=3, widths=(8,), head="causal",
        likelihood="binarized",
    )  # fmt: skip
    assert num_samples(causal, 3_000) == 5
    assert num_samples(causal, 3) == 3


def test_a_few_examples_are_not_compared(subject):
    measured = MEASURE.measure(subject(limit_examples=3))
    assert measured.not_measured == dict.fromkeys(MEASURE.names, "it needs 4 examples or more")


def test_without_labels_the_reason_is_given(subject, monkeypatch):
    monkeypatch.setattr(feature_cache, "classifier_of", lambda _: None)
    measured = MEASURE.measure(subject())
    assert measured.means == {}
    assert measured.not_measured.keys() == set(MEASURE.names)
    assert "needs labels" in measured.not_measured["fid"]


def test_the_train_split_has_no_floor(subject):
    scored = dataclasses.replace(subject(limit_examples=20), split="train")
    measured = MEASURE.measure(scored)
    assert measured.not_measured.keys() == {"fid_floor", "kid_floor"}
    assert measured.means.keys() == set(MEASURE.names) - {"fid_floor", "kid_floor"}
    assert measured.protocol["floor_examples"] is None


def test_the_reason_is_given_where_no_density_is_fitted(subject):
    scored = subject(limit_examples=20)
    without = {split: paths for split, paths in scored.tables.items() if split != "train"}
    measured = MEASURE.measure(dataclasses.replace(scored, tables=without))
    reasons = dict.fromkeys(("fid_aggregate", "kid_aggregate"), "there are no training examples")
    assert measured.not_measured == reasons
    unasked = MEASURE.measure(subject(limit_examples=20, metrics=("fid",)))
    assert "fid_aggregate" not in {*unasked.means, *unasked.not_measured}

import dataclasses

import numpy as np
import pytest

from components.metrics import linear_probe
from components.metrics.mean import Mean
from components.metrics.nearest_neighbors import LabeledVectors, best_k, correct
from components.model import embeddings
from pipeline.evaluate.labeled_parts import divide
from pipeline.evaluate.measures.measure import Subject
from pipeline.evaluate.measures.representation import NeighborMeasure, ProbeMeasure


@pytest.fixture
def splits(tables) -> dict[str, LabeledVectors]:
    """The embeddings of the session's examples, by split."""
    read = {split: embeddings.read(paths[0]) for split, paths in tables.items()}
    return {split: LabeledVectors(each.means, each.labels) for split, each in read.items()}


def having(subject: Subject, splits: dict[str, LabeledVectors]) -> Subject:
    """A subject with other embeddings."""
    copy = dataclasses.replace(subject)
    vars(copy)["labeled_parts"] = divide(splits)
    return copy


def test_the_neighbors_are_those_of_the_embeddings(subject, splits):
    measured = NeighborMeasure().measure(subject(limit_examples=60))
    k = best_k(splits["train"], splits["validation"])
    expected = correct(splits["train"], splits["test"][:60], [k])[0]
    assert measured.means == {"knn_accuracy": Mean.of_proportion(expected)}
    assert measured.protocol == {
        "knn_k": k,
        "knn_splits": "fitted on train, k chosen on validation, scored on test",
        "knn_examples": 60,
    }
    np.testing.assert_array_equal(measured.by_example["knn_accuracy"], expected)


def test_the_probe_is_that_of_the_embeddings(subject, splits):
    measured = ProbeMeasure().measure(subject(limit_examples=60))
    probe, penalty = linear_probe.best_probe(splits["train"], splits["validation"])
    is_correct = probe.predict(splits["test"].vectors[:60]) == splits["test"].labels[:60]
    assert measured.means == {"linear_probe_accuracy": Mean.of_proportion(is_correct)}
    assert measured.protocol == {
        "linear_probe_penalty": penalty,
        "linear_probe_splits": "fitted on train, penalty chosen on validation, scored on test",
        "linear_probe_examples": 60,
    }
    np.testing.assert_array_equal(measured.by_example["linear_probe_accuracy"], is_correct)


def test_without_a_validation_split_the_probe_is_fitted_again_to_all_of_train(subject, splits):
    del splits["validation"]
    measured = ProbeMeasure().measure(having(subject(), splits))
    train, test = splits["train"], splits["test"]
    rest = len(train) - len(train) // 10
    _, penalty = linear_probe.best_probe(train[:rest], train[rest:])
    probe = linear_probe.fit(train, penalty=penalty)
    accuracy = (probe.predict(test.vectors) == test.labels).mean()
    assert measured.means["linear_probe_accuracy"].value == accuracy
    assert measured.protocol["linear_probe_penalty"] == penalty


def test_without_a_test_split_the_settings_are_fixed(subject, splits):
    del splits["test"]
    without = having(subject(), splits)
    neighbors = NeighborMeasure().measure(without)
    assert neighbors.protocol["knn_k"] == 10
    assert neighbors.by_example == {}  # The labels of other examples are predicted.
    measured = ProbeMeasure().measure(without)
    assert measured.protocol["linear_probe_penalty"] == 1e-3
    probe = linear_probe.fit(splits["train"], penalty=1e-3)
    validation = splits["validation"]
    accuracy = (probe.predict(validation.vectors) == validation.labels).mean()
    assert measured.means["linear_probe_accuracy"].value == accuracy


@pytest.mark.parametrize("measure", [NeighborMeasure(), ProbeMeasure()])
def test_without_labels_there_is_a_reason(subject, splits, measure):
    one = {
        split: LabeledVectors(each.vectors, np.zeros(len(each), int))
        for split, each in splits.items()
    }
    measured = measure.measure(having(subject(), one))
    assert measured.means == {}
    assert measured.not_measured == {measure.names[0]: "it needs labels of two or more classes"}

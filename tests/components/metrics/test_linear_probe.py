import numpy as np
import pytest

from components.metrics import linear_probe
from components.metrics.linear_probe import best_probe, fit
from components.metrics.nearest_neighbors import LabeledVectors

RNG = np.random.default_rng(0)


def clusters(count: int, *, spread: float, classes: int = 3) -> LabeledVectors:
    """Examples of classes whose centers are at a distance of 10 and more."""
    labels = RNG.integers(0, classes, count)
    centers = 10.0 * np.eye(classes, 4)
    vectors = centers[labels] + spread * RNG.normal(size=(count, 4))
    return LabeledVectors(vectors.astype(np.float32), labels * 5 + 2)


def standardized(examples: LabeledVectors) -> np.ndarray:
    vectors = examples.vectors.astype(np.float64)
    inputs = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    return np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)


def by_newton(examples: LabeledVectors, penalty: float) -> np.ndarray:
    """The probabilities at the minimum, by Newton's method with the whole Hessian matrix."""
    inputs, (_, numbers) = standardized(examples), np.unique(examples.labels, return_inverse=True)
    count, size = inputs.shape
    targets = np.eye(numbers.max() + 1)[numbers]
    classes = targets.shape[1]
    penalties = np.repeat([*[penalty] * (size - 1), 0.0], classes)
    weights = np.zeros(size * classes)
    for _ in range(50):
        logits = inputs @ weights.reshape(size, classes)
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        gradient = (inputs.T @ (probabilities - targets) / count).ravel() + penalties * weights
        hessian = np.diag(penalties)
        for x, p in zip(inputs, probabilities, strict=True):
            hessian += np.kron(np.outer(x, x), np.diag(p) - np.outer(p, p)) / count
        # The constant of all classes has no curvature and no gradient.
        weights -= np.linalg.lstsq(hessian, gradient, rcond=1e-12)[0]
    assert np.abs(gradient).max() < 1e-10
    return probabilities


def probabilities_of(probe, examples: LabeledVectors) -> np.ndarray:
    logits = standardized(examples) @ probe.weights
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("penalty", [1.0, 1e-2, 1e-4])
def test_the_fit_is_the_minimum_of_the_convex_problem(penalty):
    examples = clusters(80, spread=8.0)
    probe = fit(examples, penalty=penalty)
    expected = by_newton(examples, penalty)
    np.testing.assert_allclose(probabilities_of(probe, examples), expected, atol=2e-3)
    predicted = probe.predict(examples.vectors)
    assert (predicted == expected.argmax(axis=1) * 5 + 2).all()


def test_a_binary_input_gives_the_frequencies_of_the_labels():
    """A closed form: without a penalty, the probabilities are the shares of each value."""
    inputs = np.repeat([0.0, 0.0, 1.0, 1.0], [30, 10, 5, 55])[:, np.newaxis]
    labels = np.repeat([0, 1, 0, 1], [30, 10, 5, 55])
    examples = LabeledVectors(inputs.astype(np.float32), labels)
    probabilities = probabilities_of(fit(examples, penalty=1e-9), examples)
    np.testing.assert_allclose(probabilities[[0, 60], 0], [30 / 40, 5 / 60], atol=1e-3)


def test_separate_clusters_are_told_apart():
    fitted, heldout = clusters(300, spread=0.5), clusters(100, spread=0.5)
    probe, penalty = best_probe(fitted, heldout)
    assert (probe.predict(heldout.vectors) == heldout.labels).all()
    # All penalties predict all labels, so the strongest one is chosen.
    assert penalty == linear_probe.PENALTIES[0]


def test_the_penalty_predicts_most_heldout_labels():
    fitted, heldout = clusters(40, spread=9.0), clusters(400, spread=9.0)
    right = {
        penalty: (fit(fitted, penalty=penalty).predict(heldout.vectors) == heldout.labels).sum()
        for penalty in (10.0, 1e-1, 1e-6)
    }
    _, penalty = best_probe(fitted, heldout, penalties=tuple(right))
    assert right[penalty] == max(right.values())
    assert len(set(right.values())) > 1


def test_constant_inputs_predict_the_most_frequent_label():
    labels = np.array([7, 7, 7, 1, 1])
    examples = LabeledVectors(np.full((5, 3), 4.0, np.float32), labels)
    assert fit(examples, penalty=1e-3).predict(np.zeros((2, 3))).tolist() == [7, 7]


def test_the_order_and_the_units_of_the_inputs_do_not_matter():
    examples, order = clusters(200, spread=8.0), RNG.permutation(200)
    units = np.array([1.0, 1e3, 1e-3, 5.0], np.float32)
    one = fit(examples, penalty=1e-2)
    other = fit(
        LabeledVectors(examples.vectors[order] * units, examples.labels[order]), penalty=1e-2
    )
    np.testing.assert_allclose(other.weights, one.weights, atol=1e-3)
    np.testing.assert_array_equal(
        other.predict(examples.vectors * units), one.predict(examples.vectors)
    )


def test_of_many_examples_evenly_spaced_ones_are_fitted(monkeypatch):
    examples = clusters(300, spread=8.0)
    monkeypatch.setattr(linear_probe, "_MAX_PRODUCTS", 100 * 5 * 3)
    some = fit(examples, penalty=1e-2)
    monkeypatch.undo()
    expected = fit(examples[np.arange(0, 300, 3)], penalty=1e-2)
    np.testing.assert_array_equal(some.weights, expected.weights)

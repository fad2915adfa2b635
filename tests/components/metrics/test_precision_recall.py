import numpy as np
import pytest

from components.metrics import precision_recall as module
from components.metrics.mean import Mean
from components.metrics.precision_recall import precision_and_recall

RNG = np.random.default_rng(0)


def clusters(numbers: list[int], count: int = 100) -> np.ndarray:
    """`count` vectors around each of some corners, which are 100 apart and have a radius of 1."""
    centers = 100 * np.eye(6)[np.repeat(numbers, count)]
    return (centers + RNG.uniform(-0.4, 0.4, centers.shape)).astype(np.float32)


def by_definition(vectors: np.ndarray, manifold: np.ndarray, k: int) -> float:
    """The fraction of vectors within a ball of the manifold."""
    distances = np.linalg.norm(manifold[:, np.newaxis] - manifold, axis=2)
    radii = np.sort(distances, axis=1)[:, k]  # The distance to itself, 0, comes first.
    to_manifold = np.linalg.norm(vectors[:, np.newaxis] - manifold, axis=2)
    return float((to_manifold <= radii).any(axis=1).mean())


@pytest.mark.parametrize("k", [1, 3, 5])
def test_they_are_the_fractions_of_the_definition(k):
    samples, reference = RNG.standard_normal((60, 3)) + 0.5, RNG.standard_normal((80, 3))
    precision, recall = precision_and_recall(samples, reference, k=k)
    assert precision.value == by_definition(samples, reference, k)
    assert recall.value == by_definition(reference, samples, k)
    assert 0.3 < recall.value < 1


def test_samples_of_the_reference_itself_have_both():
    reference = clusters([0, 1, 2])
    precision, recall = precision_and_recall(reference, reference)
    assert (precision.value, recall.value) == (1, 1)


def test_without_one_of_four_modes_a_quarter_of_the_recall_is_lost():
    complete = precision_and_recall(clusters([0, 1, 2, 3]), clusters([0, 1, 2, 3]))
    dropped = precision_and_recall(clusters([0, 1, 2]), clusters([0, 1, 2, 3]))
    assert min(mean.value for mean in complete) > 0.8
    assert dropped[0].value > 0.8
    assert dropped[1].value == pytest.approx(0.75, abs=0.1)
    assert dropped[1].value <= 0.75


def test_with_one_of_four_modes_off_the_manifold_a_quarter_of_the_precision_is_lost():
    precision, recall = precision_and_recall(clusters([0, 1, 2, 5]), clusters([0, 1, 2]))
    assert precision.value == pytest.approx(0.75, abs=0.1)
    assert precision.value <= 0.75
    assert recall.value > 0.8


def test_samples_that_are_all_equal_cover_nothing():
    """Their balls have the radius 0."""
    reference = RNG.standard_normal((50, 4))
    _, recall = precision_and_recall(np.full((50, 4), 0.1), reference)
    assert recall.value == 0


def test_both_have_the_interval_of_a_fraction():
    samples, reference = RNG.standard_normal((400, 3)) + 1.0, RNG.standard_normal((300, 3))
    precision, recall = precision_and_recall(samples, reference)
    for mean, count in ((precision, 400), (recall, 300)):
        assert mean == Mean.of_proportion(np.arange(count) < round(mean.value * count))


def test_blocks_and_a_shift_of_both_sets_change_nothing(monkeypatch):
    samples, reference = RNG.standard_normal((90, 3)) + 0.5, RNG.standard_normal((70, 3))
    expected = precision_and_recall(samples, reference)
    assert precision_and_recall(samples + 1e4, reference + 1e4) == expected
    monkeypatch.setattr(module, "_BLOCK_DISTANCES", 200)
    assert precision_and_recall(samples, reference) == expected

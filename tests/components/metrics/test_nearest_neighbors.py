import tracemalloc

import numpy as np
import pytest

from components.metrics import nearest_neighbors
from components.metrics.nearest_neighbors import (
    LabeledVectors,
    best_k,
    correct,
    nearest,
    squared_distances,
)

RNG = np.random.default_rng(0)


def normal(count: int, dimensions: int) -> np.ndarray:
    return RNG.standard_normal((count, dimensions)).astype(np.float32)


def lattice(count: int, dimensions: int) -> np.ndarray:
    """Points with whole coordinates, of which many are equal or at equal distances."""
    return RNG.integers(-2, 3, (count, dimensions)).astype(np.float32)


def clusters(count: int, classes: int) -> LabeledVectors:
    """Examples of each class within 0.5 of a corner of a simplex, whose corners are far apart."""
    labels = RNG.integers(0, classes, count)
    offsets = RNG.uniform(-0.1, 0.1, (count, classes))
    return LabeledVectors((10 * np.eye(classes)[labels] + offsets).astype(np.float32), labels)


def by_definition(points: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """All distances, sorted."""
    points = points.astype(np.float64)
    distances = [np.square(points - query).sum(axis=1) for query in queries]
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize(
    ("count", "dimensions", "k"),
    [(1, 1, 1), (3, 2, 3), (15, 4, 15), (64, 3, 1), (129, 5, 2), (1000, 2, 15), (1001, 40, 7)],
)
@pytest.mark.parametrize("draw", [normal, lattice], ids=["normal", "ties"])
def test_the_nearest_points_are_those_of_the_definition(draw, count, dimensions, k):
    points, queries = draw(count, dimensions), draw(90, dimensions)
    found = nearest(points, queries, k=k)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, by_definition(points, queries, k))


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e-3, 1e15], ids=str)
@pytest.mark.parametrize("offset", [0.0, 5e3])
def test_the_nearest_points_are_exact_at_any_scale_and_far_from_0(scale, offset):
    """A product in float32 without a center and a scale has no digit that is right."""
    points, queries = (
        ((normal(500, 6) + np.float32(offset)) * scale).astype(np.float32) for _ in range(2)
    )
    np.testing.assert_array_equal(
        nearest(points, queries, k=5), by_definition(points, queries, k=5)
    )


def test_one_point_far_away_does_not_hide_the_differences_of_the_others():
    points, queries = normal(500, 3), normal(50, 3)
    points[77] = 1e6
    found = nearest(points, queries, k=15)
    np.testing.assert_array_equal(found, by_definition(points, queries, 15))


def test_of_points_at_the_same_distance_the_first_are_found():
    points = np.array([[2, 0], [0, 1], [1, 0], [0, -1], [0, 1], [-1, 0]], np.float32)
    assert nearest(points, np.zeros((1, 2), np.float32), k=4).tolist() == [[1, 2, 3, 4]]


def test_if_all_points_are_equal_the_first_are_found():
    points = np.full((20_000, 3), 0.1, np.float32)
    found = nearest(points, normal(1000, 3), k=15)
    np.testing.assert_array_equal(found, np.tile(np.arange(15), (1000, 1)))


@pytest.mark.parametrize("draw", [normal, lattice], ids=["normal", "ties"])
def test_the_blocks_do_not_change_the_result(monkeypatch, draw):
    points, queries = draw(700, 9), draw(300, 9)
    whole = nearest(points, queries, k=10)
    for distances in (1, 5000):
        monkeypatch.setattr(nearest_neighbors, "_BLOCK_DISTANCES", distances)
        np.testing.assert_array_equal(nearest(points, queries, k=10), whole)
    np.testing.assert_array_equal(nearest(points, queries[100:101], k=10), whole[100:101])


@pytest.mark.parametrize("draw", [normal, lattice], ids=["normal", "ties"])
def test_the_memory_depends_on_the_blocks_and_not_on_the_number_of_queries(monkeypatch, draw):
    """4,000 times 4,000 distances in float32 take 64 MB."""
    monkeypatch.setattr(nearest_neighbors, "_BLOCK_DISTANCES", 1 << 16)
    points, queries = draw(4000, 4), draw(4000, 4)
    tracemalloc.start()
    nearest(points, queries, k=5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("k", [1, 3, 15])
def test_separated_clusters_are_told_apart(k):
    assert correct(clusters(200, 5), clusters(100, 5), [k]).all()


def test_labels_that_the_vectors_say_nothing_about_are_guessed_by_chance():
    fitted, queries = (LabeledVectors(normal(3000, 2), RNG.integers(0, 4, 3000)) for _ in range(2))
    share = correct(fitted, queries, [5]).mean()
    assert abs(share - 1 / 4) < 4 * np.sqrt(3 / 16 / 3000)


def test_the_most_votes_win_and_of_equal_ones_the_nearest():
    """The neighbors of 0, the nearest first, have the labels 7, 2, 2, 7 and 5."""
    fitted = LabeledVectors(
        np.array([[5], [1], [-2], [4], [3]], np.float32), np.array([5, 7, 2, 7, 2])
    )
    queries = LabeledVectors(np.zeros((2, 1), np.float32), np.array([7, 2]))
    is_seven, is_two = correct(fitted, queries, [1, 2, 3, 4, 5, 9]).T
    assert is_seven.tolist() == [True, True, False, True, True, True]
    assert is_two.tolist() == [False, False, True, False, False, False]


def test_the_number_of_neighbors_is_the_one_that_predicts_most_labels():
    """Around 0, the nearest two examples have another label than the six further away."""
    fitted = LabeledVectors(
        np.array([[0.1], [-0.1], [1], [-1], [2], [-2], [3], [-3]], np.float32),
        np.array([0, 0, 1, 1, 1, 1, 1, 1]),
    )
    heldout = LabeledVectors(np.zeros((1, 1), np.float32), np.array([1]))
    # Of four neighbors, both labels have two, and the nearest is 0.
    assert best_k(fitted, heldout) == 5
    # All numbers predict nothing, or everything: the smallest.
    assert best_k(fitted, LabeledVectors(heldout.vectors, np.array([3]))) == 3
    assert best_k(fitted[2:], heldout) == 3


def test_examples_are_taken_together_with_their_labels():
    examples = LabeledVectors(normal(4, 2), np.array([3, 1, 2, 0]))
    part = examples[np.array([True, False, False, True])]
    assert len(part) == 2
    assert part.labels.tolist() == [3, 0]
    np.testing.assert_array_equal(part.vectors, examples.vectors[[0, 3]])


def test_squared_distances_are_those_of_float64():
    points = np.array([[3, 4], [1e-4, 0], [1e20, 0]], np.float32)
    found = squared_distances(points, np.zeros(2, np.float32))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [25, 1e-8, 1e40], rtol=1e-6)

import numpy as np
import pytest

from components.metrics import near_pairs
from components.metrics.near_pairs import linked_groups, median_nearest_distance, nearest_within

RNG = np.random.default_rng(0)


def normal(count: int, dimensions: int) -> np.ndarray:
    return RNG.standard_normal((count, dimensions)).astype(np.float32)


def by_definition(points: np.ndarray, limit: float) -> np.ndarray:
    """The distance to the nearest other point, from all distances; infinite beyond the limit."""
    points = points.astype(np.float64)
    distances = np.linalg.norm(points[:, np.newaxis] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    return np.where(nearest <= limit, nearest, np.inf)


def check(points: np.ndarray, limit: float) -> np.ndarray:
    """Checks the nearest points against the definition; returns their distances."""
    numbers, distances = nearest_within(points, limit)
    np.testing.assert_allclose(distances, by_definition(points, limit), rtol=1e-12)
    is_near = numbers >= 0
    np.testing.assert_array_equal(is_near, np.isfinite(distances))
    rows = np.flatnonzero(is_near)
    assert (numbers[rows] != rows).all()
    differences = points[rows].astype(np.float64) - points[numbers[rows]]
    np.testing.assert_allclose(np.linalg.norm(differences, axis=1), distances[rows], rtol=1e-12)
    return distances


@pytest.mark.parametrize("dimensions", [1, 2, 9])
@pytest.mark.parametrize("limit", [0.0, 0.05, 0.8, 100.0])
def test_the_nearest_points_are_those_of_the_definition(monkeypatch, dimensions, limit):
    monkeypatch.setattr(near_pairs, "_BLOCK", 50)
    points = normal(400, dimensions)
    distances = check(np.concatenate([points, points[::40]]), limit)
    assert (distances == 0).sum() == 20


def test_whole_coordinates_are_at_the_limit_exactly(monkeypatch):
    """On a line of whole numbers, each point has a neighbor at the distance 1."""
    monkeypatch.setattr(near_pairs, "_BLOCK", 7)
    line = np.zeros((100, 3), np.float32)
    line[:, 1] = RNG.permutation(100)
    assert (check(line, 1.0) == 1).all()
    assert np.isinf(check(line, np.nextafter(1.0, 0.0))).all()


@pytest.mark.parametrize("scale", [1e-30, 1e15])
def test_points_of_any_scale_have_their_neighbors(scale):
    points = (normal(200, 4) * scale).astype(np.float32)
    assert np.isfinite(check(points, float(0.7 * scale))).any()


def test_equal_points_have_one_another(monkeypatch):
    monkeypatch.setattr(near_pairs, "_BLOCK", 4)
    points = np.concatenate([np.ones((9, 2)), [[5, 5]]]).astype(np.float32)
    numbers, distances = nearest_within(points, 0.5)
    assert numbers[9] == -1
    assert (distances[:9] == 0).all()
    (group,) = linked_groups(numbers)
    assert group.tolist() == list(range(9))


@pytest.mark.parametrize("count", [0, 1])
def test_a_lone_point_has_no_neighbor(count):
    numbers, distances = nearest_within(normal(count, 2), 1e9)
    assert numbers.tolist() == [-1] * count
    assert np.isinf(distances).all()


def test_far_points_are_not_compared(monkeypatch):
    """Two clusters far apart: no block of distances has points of both."""
    monkeypatch.setattr(near_pairs, "_BLOCK", 100)
    seen = []
    search = near_pairs.nearest

    def record(points, queries, *, k):
        seen.append(np.ptp(points[:, 0]))
        return search(points, queries, k=k)

    monkeypatch.setattr(near_pairs, "nearest", record)
    points = normal(200, 2)
    points[100:, 0] += 1000
    check(RNG.permutation(points), 0.5)
    assert len(seen) == 2
    assert max(seen) < 20


@pytest.mark.parametrize(
    ("links", "groups"),
    [
        ([], []),
        ([-1, -1], []),
        ([1, 0, -1], [[0, 1]]),
        ([-1, 4, 1, -1, 1, 6, 5], [[1, 2, 4], [5, 6]]),
        ([1, 2, 3, 4, 5, 0], [[0, 1, 2, 3, 4, 5]]),
        ([-1, -1, 0, 1, 3, 2], [[0, 2, 5], [1, 3, 4]]),
    ],
)
def test_groups_are_what_links_join(links, groups):
    found = linked_groups(np.array(links, np.int64))
    assert [group.tolist() for group in found] == groups


@pytest.mark.parametrize("dimensions", [1, 3])
def test_the_median_distance_is_that_of_the_definition(dimensions):
    points = normal(301, dimensions)
    points[7] = points[8]
    expected = np.median(by_definition(points, np.inf))
    assert median_nearest_distance(points) == pytest.approx(expected, rel=1e-6)


def test_the_median_distance_of_many_points_is_that_of_some_to_all(monkeypatch):
    """Of every third point of a line of growing gaps; the nearest is the one before it."""
    monkeypatch.setattr(near_pairs, "_MEDIAN_SAMPLE", 33)
    gaps = np.arange(1, 100)
    line = np.cumsum(gaps).astype(np.float32)[:, np.newaxis]
    assert median_nearest_distance(line) == np.median([gaps[1], *gaps[3::3]])


@pytest.mark.parametrize(("count", "expected"), [(0, np.inf), (1, np.inf), (4, 0.0)])
def test_single_and_equal_points_have_a_median_distance_too(count, expected):
    assert median_nearest_distance(np.ones((count, 2), np.float32)) == expected

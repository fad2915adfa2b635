import math

import numpy as np
import pytest

from components.metrics.frechet_distance import between_normals, frechet_distance

RNG = np.random.default_rng(0)
ZERO = np.zeros(5)


def covariance(dimensions: int = 5, *, rank: int | None = None) -> np.ndarray:
    """A random covariance, which commutes with no other."""
    factor = RNG.standard_normal((dimensions, rank or dimensions))
    return factor @ factor.T


def square_root(matrix: np.ndarray) -> np.ndarray:
    """The principal root of any matrix by Newton's method (Denman and Beavers, 1976)."""
    y, z = matrix, np.eye(len(matrix))
    for _ in range(60):
        y, z = (y + np.linalg.inv(z)) / 2, (z + np.linalg.inv(y)) / 2
    np.testing.assert_allclose(y @ y, matrix, rtol=1e-9, atol=1e-9)
    return y


def test_equal_distributions_have_distance_0():
    mean, spread = RNG.standard_normal(5), covariance()
    assert between_normals(mean, spread, mean, spread) == pytest.approx(0, abs=1e-12)


def test_shifted_distributions_have_the_squared_distance_of_their_means():
    spread, shift = covariance(), np.array([3.0, 0, -4, 0, 0])
    assert between_normals(ZERO, spread, shift, spread) == pytest.approx(25, rel=1e-12)


def test_of_scaled_distributions_the_standard_deviations_differ():
    spread = covariance()
    # Σ (σ - 3 σ)^2 = 4 tr S
    expected = 4 * np.trace(spread)
    assert between_normals(ZERO, spread, ZERO, 9 * spread) == pytest.approx(expected, rel=1e-12)


def test_of_commuting_covariances_the_standard_deviations_along_common_axes_differ():
    axes, _ = np.linalg.qr(RNG.standard_normal((5, 5)))
    first, second = RNG.uniform(0, 3, (2, 5))
    distance = between_normals(
        ZERO, axes @ np.diag(first**2) @ axes.T, ZERO, axes @ np.diag(second**2) @ axes.T
    )
    assert distance == pytest.approx(np.square(first - second).sum(), rel=1e-10)


def test_of_other_covariances_the_root_of_the_product_is_that_of_newtons_method():
    first, second, shift = covariance(), covariance(), RNG.standard_normal(5)
    assert not np.allclose(first @ second, second @ first)
    root = square_root(first @ second)
    expected = shift @ shift + np.trace(first + second - 2 * root)
    assert between_normals(ZERO, first, shift, second) == pytest.approx(expected, rel=1e-10)
    assert between_normals(shift, second, ZERO, first) == pytest.approx(expected, rel=1e-10)


def test_a_covariance_may_be_singular():
    """A root by Newton's method does not exist then."""
    spread = covariance(rank=2)
    assert between_normals(ZERO, spread, ZERO, spread) == pytest.approx(0, abs=1e-6)
    expected = np.trace(spread)
    assert between_normals(ZERO, spread, ZERO, 0 * spread) == pytest.approx(expected, rel=1e-12)


def normal_sets(count: int, dimensions: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Draws of two normal distributions at distance 1.5^2 + 4 (1 - 0.5)^2 = 3.25."""
    samples, reference = RNG.standard_normal((2, count, dimensions))
    samples[:, 0] += 1.5
    return samples.astype(np.float32), 0.5 * reference.astype(np.float32)


def test_many_vectors_have_the_distance_of_their_distributions():
    distance = frechet_distance(*normal_sets(100_000))
    assert distance.value == pytest.approx(3.25, abs=0.05)
    assert abs(distance.value - 3.25) < 2 * distance.half_width


def test_the_interval_is_as_wide_as_the_estimates_scatter():
    found = [frechet_distance(*normal_sets(400)) for _ in range(150)]
    scatter = np.std([each.value for each in found])
    expected = np.mean([each.half_width for each in found]) / 1.96
    assert expected == pytest.approx(scatter, rel=0.2)


def test_the_means_and_covariances_are_those_of_numpy():
    samples, reference = normal_sets(37)
    expected = between_normals(
        samples.mean(axis=0, dtype=np.float64),
        np.cov(samples.T.astype(np.float64)),
        reference.mean(axis=0, dtype=np.float64),
        np.cov(reference.T.astype(np.float64)),
    )
    assert frechet_distance(samples, reference).value == pytest.approx(expected, rel=1e-10)


def test_a_shift_of_both_sets_changes_nothing():
    samples, reference = (vectors.astype(np.float64) for vectors in normal_sets(200))
    expected = frechet_distance(samples, reference)
    found = frechet_distance(samples + 1e5, reference + 1e5)
    assert found.value == pytest.approx(expected.value, rel=1e-8)
    assert found.half_width == pytest.approx(expected.half_width, rel=1e-8)


@pytest.mark.parametrize(("count", "has_interval"), [(2, False), (3, False), (4, True)])
def test_a_few_vectors_have_a_distance_without_an_interval(count, has_interval):
    distance = frechet_distance(*normal_sets(count))
    assert math.isfinite(distance.value)
    assert math.isfinite(distance.half_width) == has_interval

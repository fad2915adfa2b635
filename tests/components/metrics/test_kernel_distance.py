import itertools
import math

import numpy as np
import pytest

from components.metrics import kernel_distance as module
from components.metrics.kernel_distance import kernel_distance

RNG = np.random.default_rng(0)


def kernel(x: np.ndarray, y: np.ndarray) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate as a sum over pairs."""
    within = [
        np.mean([kernel(*pair) for pair in itertools.permutations(vectors, 2)])
        for vectors in (x, y)
    ]
    return float(sum(within) - 2 * np.mean([kernel(*pair) for pair in itertools.product(x, y)]))


def draws(count: int, *, mean: float = 0.0) -> np.ndarray:
    return mean + RNG.standard_normal((count, 3))


def test_it_is_the_mean_over_pairs_of_the_definition():
    x, y = draws(9), draws(7, mean=0.5)
    assert kernel_distance(x, y).value == pytest.approx(by_definition(x, y), rel=1e-12)


def test_the_interval_is_that_of_estimates_without_one_vector():
    x, y = draws(9), draws(7, mean=0.5)
    variance = 0.0
    for estimates in (
        [by_definition(np.delete(x, row, axis=0), y) for row in range(len(x))],
        [by_definition(x, np.delete(y, row, axis=0)) for row in range(len(y))],
    ):
        variance += (len(estimates) - 1) * np.var(estimates)
    expected = 1.959964 * math.sqrt(variance)
    assert kernel_distance(x, y).half_width == pytest.approx(expected, rel=1e-6)


def test_it_is_unbiased_however_few_vectors_there_are():
    """Of one-dimensional normal draws at a distance m, the MMD has a closed form."""
    # k(x, y) = (xy)^3 + 3 (xy)^2 + 3 xy + 1, so MMD^2 = Σ_p c_p (E x^p - E y^p)^2. With x from
    # N(0, 1) and y from N(m, 1), the differences of E x, E x^2 and E x^3 are m, m^2, m^3 + 3 m.
    shift = 0.5
    expected = (shift**3 + 3 * shift) ** 2 + 3 * shift**4 + 3 * shift**2
    estimates = [
        kernel_distance(RNG.standard_normal((5, 1)), shift + RNG.standard_normal((6, 1))).value
        for _ in range(4_000)
    ]
    error = np.std(estimates) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates) - expected) < 4 * error
    assert error < expected / 10


def test_two_halves_of_one_distribution_differ_by_no_more_than_the_noise():
    found = [kernel_distance(draws(200), draws(200)) for _ in range(100)]
    values = np.array([each.value for each in found])
    assert abs(values.mean()) < 4 * values.std() / 10
    assert (values < 0).any()  # An estimate that is cut off at 0 is not unbiased.
    inside = np.mean([abs(each.value) < each.half_width for each in found])
    assert inside > 0.9


def test_the_interval_is_as_wide_as_the_estimates_scatter():
    found = [kernel_distance(draws(150), draws(100, mean=1.0)) for _ in range(300)]
    scatter = np.std([each.value for each in found])
    expected = np.mean([each.half_width for each in found]) / 1.96
    assert expected == pytest.approx(scatter, rel=0.15)


def test_blocks_change_nothing(monkeypatch):
    x, y = draws(50), draws(31, mean=0.2)
    expected = kernel_distance(x, y)
    monkeypatch.setattr(module, "_BLOCK_KERNELS", 100)
    found = kernel_distance(x, y)
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert found.half_width == pytest.approx(expected.half_width, rel=1e-12)


def test_two_vectors_have_a_distance_without_an_interval():
    x, y = draws(2), draws(5)
    distance = kernel_distance(x, y)
    assert distance.value == pytest.approx(by_definition(x, y), rel=1e-12)
    assert math.isinf(distance.half_width)

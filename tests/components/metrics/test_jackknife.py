import numpy as np
import pytest

from components.metrics.jackknife import standard_error

RNG = np.random.default_rng(0)


def without_one(values: np.ndarray) -> np.ndarray:
    """The mean without one value at a time."""
    return (values.sum() - values) / (len(values) - 1)


def test_of_a_mean_it_is_the_standard_error_of_the_mean():
    values = RNG.standard_normal(50)
    expected = values.std(ddof=1) / np.sqrt(50)
    assert standard_error(without_one(values)) == pytest.approx(expected, rel=1e-12)


def test_of_a_difference_of_means_it_is_that_of_independent_means():
    first, second = RNG.standard_normal(50), 3 * RNG.standard_normal(20)
    errors = [each.std(ddof=1) / np.sqrt(len(each)) for each in (first, second)]
    found = standard_error(
        without_one(first) - second.mean(), list(first.mean() - without_one(second))
    )
    assert found == pytest.approx(np.hypot(*errors), rel=1e-12)


def test_an_estimate_that_no_group_changes_has_no_error():
    assert standard_error([2.5, 2.5, 2.5]) == 0

import numpy as np
import pytest

from components.metrics.lbfgs import minimize

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_the_minimum_of_a_quadratic_function_is_that_of_its_linear_equations(condition):
    axes, _ = np.linalg.qr(RNG.normal(size=(20, 20)))
    matrix = axes * np.geomspace(1, condition, 20) @ axes.T
    vector = RNG.normal(size=20)

    def function(x):
        return 0.5 * x @ matrix @ x - vector @ x, matrix @ x - vector

    found = minimize(function, np.zeros(20), tolerance=1e-8)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, vector), atol=1e-6)


def test_steps_that_are_too_long_are_halved():
    """Far from the minimum, the curvature of log cosh says nothing of that near it."""

    def function(x):
        return float(np.logaddexp(x, -x).sum()), np.tanh(x)

    start = np.array([30.0, -0.5, 1e-3])
    np.testing.assert_allclose(minimize(function, start, tolerance=1e-9), 0, atol=1e-8)


def test_a_start_at_the_minimum_is_returned():
    calls = []

    def function(x):
        calls.append(x)
        return float(x @ x), 2 * x

    assert minimize(function, np.zeros(3)).tolist() == [0, 0, 0]
    assert len(calls) == 1


def test_the_search_ends_where_rounding_hides_a_decrease():
    def function(x):
        return float(1e20 + x @ x), 2 * x

    assert np.isfinite(minimize(function, np.ones(3), tolerance=0.0)).all()

import numpy as np
import pytest

from components.metrics.active_units import active_units


@pytest.mark.parametrize("planted", [0, 1, 5])
def test_planted_dimensions_that_vary_are_active(planted):
    rng = np.random.default_rng(0)
    means = rng.normal(3.0, 0.05, (2000, 5))  # Of variance 0.0025.
    means[:, :planted] = rng.normal(-1.0, 0.5, (2000, planted))
    assert active_units(means.astype(np.float32)) == planted


def test_a_variance_over_a_hundredth_is_active():
    """The variance of -a and a is a²."""
    halves = np.sqrt([0.0099, 0.0101, 0.0])
    assert active_units(np.stack([-halves, halves])) == 1


def test_a_single_example_has_no_active_units():
    assert active_units(np.array([[5.0, -5.0]], np.float32)) == 0


def test_a_large_offset_hides_no_variance():
    means = np.array([[4096.0], [4097.0]], np.float32)
    assert active_units(means) == 1

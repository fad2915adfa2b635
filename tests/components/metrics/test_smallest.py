import numpy as np
import pytest

from components.metrics.smallest import SmallestInStream


@pytest.mark.parametrize("k", [1, 7, 100, 5000])
@pytest.mark.parametrize("sizes", [(1000,), (1, 2, 300, 0, 697), (10,) * 100])
def test_the_smallest_values_are_those_of_a_sort(k, sizes):
    """Values from a few whole numbers, of which many are equal."""
    values = np.random.default_rng(k).integers(0, 50, 1000).astype(np.float64)
    smallest = SmallestInStream(k)
    for block in np.split(values, np.cumsum(sizes)[:-1]):
        smallest.add(block)
    expected = np.argsort(values, kind="stable")[:k]
    np.testing.assert_array_equal(smallest.numbers, expected)
    np.testing.assert_array_equal(smallest.values, values[expected])


def test_infinite_values_are_skipped():
    smallest = SmallestInStream(3)
    smallest.add(np.array([np.inf, 2.0, np.inf]))
    smallest.add(np.array([1.0]))
    assert smallest.numbers.tolist() == [3, 1]
    assert smallest.values.tolist() == [1.0, 2.0]


def test_an_empty_stream_has_no_smallest_value():
    smallest = SmallestInStream(3)
    assert smallest.numbers.tolist() == smallest.values.tolist() == []

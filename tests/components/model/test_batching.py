import numpy as np
import pytest
import tensorflow as tf

from components.model.batching import in_batches

ROWS = np.arange(14, dtype=np.float32).reshape(7, 2)
NUMBERS = np.arange(7)


@pytest.mark.parametrize("pads", [False, True])
@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_the_results_of_batches_are_those_of_all_rows(size, pads):
    def function(rows, numbers):
        return rows * numbers[:, np.newaxis], tf.constant(numbers + 1)

    products, following = in_batches(function, [ROWS, NUMBERS], size=size, pads=pads)
    np.testing.assert_array_equal(products, ROWS * NUMBERS[:, np.newaxis])
    np.testing.assert_array_equal(following, NUMBERS + 1)


@pytest.mark.parametrize(
    ("pads", "expected"),
    [(False, [[0, 1, 2], [3, 4, 5], [6]]), (True, [[0, 1, 2], [3, 4, 5], [6, 0, 0]])],
)
def test_only_the_last_batch_is_smaller_or_filled_up_with_zeros(pads, expected):
    batches = []

    def function(numbers, missing):
        assert missing is None
        batches.append(numbers.tolist())
        return [numbers]

    in_batches(function, [NUMBERS, None], size=3, pads=pads)
    assert batches == expected


def test_batches_are_views_of_the_arrays():
    """Large arrays are not copied."""
    (shared,) = in_batches(
        lambda rows: [np.full(len(rows), np.shares_memory(rows, ROWS))], [ROWS], size=3
    )
    assert shared.all()

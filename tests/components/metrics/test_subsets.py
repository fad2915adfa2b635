import numpy as np
import pytest

from components.metrics.subsets import evenly_by_class, evenly_spaced

RNG = np.random.default_rng(0)


def test_rows_are_evenly_spaced():
    assert evenly_spaced(3, 5).tolist() == [0, 1, 2]
    assert evenly_spaced(10, 4).tolist() == [0, 2, 5, 7]


def test_the_first_of_each_class_are_chosen():
    labels = np.array([0] * 50 + [1] * 3 + [2] * 20)
    rows = evenly_by_class(labels, 13)
    assert np.bincount(labels[rows]).tolist() == [5, 3, 5]
    assert rows.tolist() == [0, 1, 2, 3, 4, 50, 51, 52, 53, 54, 55, 56, 57]
    assert evenly_by_class(labels, 2).tolist() == [0, 50]
    assert evenly_by_class(labels, 100).tolist() == list(range(73))


@pytest.mark.parametrize(
    ("counts", "limit", "expected"),
    [
        ([5, 5, 5], 20, [5, 5, 5]),
        ([5, 5, 5], 6, [2, 2, 2]),
        ([1, 50, 9], 12, [1, 6, 5]),
        ([50, 2, 2], 10, [6, 2, 2]),
        ([3, 3, 3], 2, [1, 1, 0]),
    ],
)
def test_a_class_has_as_many_examples_as_the_others_or_all_it_has(counts, limit, expected):
    labels = RNG.permutation(np.repeat([4, 0, 7], counts))
    rows = evenly_by_class(labels, limit)
    assert [int(np.sum(labels[rows] == label)) for label in (4, 0, 7)] == expected
    assert len(set(rows)) == min(limit, len(labels))
    assert (np.diff(rows) > 0).all()
    # The first of each class.
    for label in (4, 0, 7):
        chosen = rows[labels[rows] == label]
        np.testing.assert_array_equal(chosen, np.flatnonzero(labels == label)[: len(chosen)])

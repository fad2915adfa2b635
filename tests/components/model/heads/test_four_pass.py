import numpy as np
import pytest

from components.model.heads.four_pass import PASSES, FourPassHead
from tests.components.model.heads.dependence import dependence


def pass_numbers(height: int, width: int) -> np.ndarray:
    """The number of the pass that decodes each pixel, shape [height, width]."""
    rows, columns = np.mgrid[:height, :width]
    places = 2 * (rows % 2) + columns % 2
    return np.argsort(PASSES)[places]


def test_the_passes_are_a_permutation_of_the_places_in_a_square():
    assert sorted(PASSES) == [0, 1, 2, 3]
    # The first two passes are on a diagonal.
    np.testing.assert_array_equal(pass_numbers(2, 2), [[0, 2], [3, 1]])


@pytest.mark.parametrize("size", [(6, 7), (7, 6), (5, 5), (1, 3), (4, 4)])
def test_an_output_depends_on_pixels_of_earlier_passes_only(size):
    derivatives = dependence(FourPassHead, size, layers=1)
    passes = pass_numbers(*size)
    is_earlier = passes < passes[:, :, np.newaxis, np.newaxis]
    np.testing.assert_array_equal(derivatives[~is_earlier], np.zeros((~is_earlier).sum()))


def test_an_output_depends_on_all_earlier_pixels_of_its_square_and_the_next_ones():
    size = (6, 7)
    derivatives = dependence(FourPassHead, size, layers=1)
    passes = pass_numbers(*size)
    is_earlier = passes < passes[:, :, np.newaxis, np.newaxis]
    rows, columns = (index // 2 for index in np.mgrid[: size[0], : size[1]])
    is_near = (np.abs(rows - rows[:, :, np.newaxis, np.newaxis]) <= 1) & (
        np.abs(columns - columns[:, :, np.newaxis, np.newaxis]) <= 1
    )
    assert (derivatives[is_earlier & is_near] > 0).all()


def test_the_first_pass_sees_no_pixel():
    derivatives = dependence(FourPassHead, (6, 7), layers=2)
    np.testing.assert_array_equal(derivatives[::2, ::2], np.zeros((3, 4, 6, 7)))

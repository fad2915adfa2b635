import numpy as np
import pytest

from components.model.heads.causal import RADIUS, CausalHead
from tests.components.model.heads.dependence import dependence

HEIGHT, WIDTH = 6, 7
PIXELS = HEIGHT * WIDTH


@pytest.mark.parametrize("layers", [1, 3])
def test_no_output_depends_on_its_own_pixel_or_a_later_one(layers):
    derivatives = dependence(CausalHead, (HEIGHT, WIDTH), layers=layers)
    by_number = derivatives.reshape(PIXELS, PIXELS)
    np.testing.assert_array_equal(np.triu(by_number), np.zeros((PIXELS, PIXELS)))


def test_an_output_depends_on_all_near_pixels_before_it():
    derivatives = dependence(CausalHead, (HEIGHT, WIDTH), layers=1)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            above = derivatives[row, column, max(0, row - RADIUS) : row]
            assert (above[:, max(0, column - RADIUS) : column + RADIUS + 1] > 0).all()
            left = derivatives[row, column, row, max(0, column - RADIUS) : column]
            assert (left > 0).all()


def test_an_output_depends_on_no_far_pixel():
    """A layer over the row above and its neighbors adds one row and one column to the context."""
    derivatives = dependence(CausalHead, (9, 9), layers=1)
    reach = RADIUS + 1
    np.testing.assert_array_equal(derivatives[8, 4, : 8 - reach], np.zeros((8 - reach, 9)))
    np.testing.assert_array_equal(derivatives[:, 0, :, reach + 1 :], np.zeros((9, 9, 8 - reach)))

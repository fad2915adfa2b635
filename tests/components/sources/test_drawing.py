"""Shapes are signed distances, and a drawing combines them."""

import numpy as np
import pytest

from components.sources.drawing import (
    FABRICS,
    PIXELS,
    Drawing,
    below,
    ellipse,
    limb,
    overlap,
    profile,
    radius,
    rounded,
    to_multiple,
)

X = PIXELS[None, None, :]  # [1, 1, 28]
Y = PIXELS[None, :, None]  # [1, 28, 1]


def constant(value: float) -> np.ndarray:
    return np.full((1, 1, 1), value, np.float32)


def test_the_radius_is_the_hypotenuse():
    np.testing.assert_allclose(radius(X, Y), np.hypot(X, Y), rtol=1e-6)


def test_a_profile_passes_through_its_knots_and_is_constant_beyond_them():
    at = np.array([-9.0, -2.0, 0.0, 3.0, 9.0])
    curve = profile(at, (-2.0, 5.0), (0.0, 1.0), (3.0, 4.0))
    np.testing.assert_allclose(curve, [5, 5, 1, 4, 4])


def test_a_profile_is_monotonic_between_two_knots():
    curve = profile(np.linspace(0, 1, 100), (0.0, 2.0), (1.0, 3.0))
    assert (np.diff(curve) > 0).all()


def test_a_shape_below_a_level_line_is_a_distance():
    limit = np.zeros_like(X) + 3
    np.testing.assert_allclose(below(Y, limit), np.broadcast_to(3 - Y, (1, 28, 28)))


@pytest.mark.parametrize("slope", [0.5, 1.0, 4.0])
def test_a_shape_below_a_steep_line_is_a_distance_too(slope):
    # The distance of (x, y) from the line y = slope * x.
    expected = (slope * X - Y) / np.sqrt(1 + slope**2)
    np.testing.assert_allclose(below(Y, slope * X), expected, rtol=1e-4, atol=1e-5)


def test_a_curve_may_depend_on_either_axis():
    np.testing.assert_allclose(
        below(X, 2 * Y), below(Y, 2 * X).transpose(0, 2, 1), rtol=1e-6, atol=1e-6
    )


def test_an_overlap_is_inside_all_shapes():
    left, top, disc = -X, -Y, 5 - radius(X, Y)
    inside = overlap(left, top, disc) > 0
    np.testing.assert_array_equal(inside, (left > 0) & (top > 0) & (disc > 0))


def test_a_rounded_overlap_without_a_radius_is_an_overlap():
    inside = rounded(5 - np.abs(X), 4 - np.abs(Y), 0.0) > 0
    np.testing.assert_array_equal(inside, overlap(5 - np.abs(X), 4 - np.abs(Y)) > 0)


def test_a_corner_is_rounded_to_its_radius():
    square = rounded(5 - np.abs(X), 5 - np.abs(Y), 5.0)
    np.testing.assert_allclose(square, 5 - radius(X, Y), rtol=1e-5, atol=1e-5)


def test_a_limb_is_a_strip_with_a_round_start():
    strip = limb(X, Y, constant(0.0), 10.0, (2.0, 2.0))
    inside = strip > 0
    start = (radius(X, Y) < 2) & (Y <= 0)
    strip_below = (np.abs(X) < 2) & (Y > 0) & (Y < 10)
    np.testing.assert_array_equal(inside, start | strip_below)


def test_a_limb_points_in_its_direction_and_bends_sideways():
    right = limb(X, Y, constant(np.pi / 2), 10.0, (1.0, 1.0))
    assert right[0, 13, 20] > 0  # x = 6.5
    assert right[0, 13, 6] < 0  # x = -7.5
    straight = limb(X, Y, constant(0.0), 10.0, (1.0, 1.0))
    bent = limb(X, Y, constant(0.0), 10.0, (1.0, 1.0), bow=4.0)
    assert straight[0, 18, 13] > 0 > bent[0, 18, 13]
    assert bent[0, 18, 17] > 0 > straight[0, 18, 17]


def test_an_ellipse_has_its_radii():
    inside = ellipse(X, Y, 9.0, 4.0) > 0
    assert inside[0].any(axis=0).sum() == 18
    assert inside[0].any(axis=1).sum() == 8


def test_to_multiple_is_the_distance_to_the_nearest_multiple():
    np.testing.assert_allclose(
        to_multiple(np.array([0.0, 1.0, 2.0, 2.5, -4.5]), 3.0), [0, 1, 1, 0.5, 1.5]
    )


def make_drawing(count: int = 4, seed: int = 0) -> Drawing:
    return Drawing(count, np.random.default_rng(seed))


def test_random_values_differ_between_images_and_stay_within_their_bounds():
    values = make_drawing(1000).vary(2.0, 5.0)
    assert values.shape == (1000, 1, 1)
    assert ((values >= 2) & (values <= 5)).all()
    assert np.unique(values).size > 900


def test_a_share_of_the_images_is_one_and_the_others_are_zero():
    chosen = make_drawing(10_000).some(0.3)
    assert set(np.unique(chosen)) == {0, 1}
    assert abs(chosen.mean() - 0.3) < 0.02
    assert make_drawing().some(0.0).sum() == 0
    assert make_drawing().some(1.0).sum() == 4


def test_a_pixel_is_painted_by_the_part_of_it_that_is_covered():
    drawing = make_drawing(1)
    drawing.paint(X, 0.8)  # The outline is at x = 0, between two pixels.
    np.testing.assert_allclose(drawing.tones[0, 0, 12:16], [0, 0, 0.8, 0.8])
    drawing = make_drawing(1)
    drawing.paint(X - 0.5, 0.8)  # The outline is in the middle of pixel 14.
    np.testing.assert_allclose(drawing.tones[0, 0, 12:16], [0, 0, 0.4, 0.8])


def test_paint_covers_what_is_below_it_by_its_opacity():
    drawing = make_drawing(1)
    everywhere = np.full((1, 28, 28), 9.0)
    drawing.paint(everywhere, 1.0)
    drawing.paint(everywhere, 0.5, 0.25)
    np.testing.assert_allclose(drawing.tones, 0.875)
    drawing.paint(everywhere, 0.2)
    np.testing.assert_allclose(drawing.tones, 0.2, rtol=1e-6)


def test_cloth_is_darker_at_its_edge():
    drawing = make_drawing(1)
    drawing.drape(8 - np.abs(X))
    row = drawing.tones[0, 0]
    assert row[0] == 0
    assert 0.7 < row[6] < row[7] < row[13] == 1


@pytest.mark.parametrize("fabric", FABRICS)
def test_a_finished_drawing_shows_the_fabric_only_where_it_is_painted(fabric):
    drawing = make_drawing(6)
    drawing.paint(np.broadcast_to(X, (6, 28, 28)), 1.0)
    images = drawing.finish((fabric,))
    assert images.shape == (6, 28, 28)
    assert images.dtype == np.uint8
    assert not images[:, :, :14].any()
    assert (images[:, :, 14:].mean(axis=(1, 2)) > 20).all()
    assert (images[:, :, 14:].std(axis=(1, 2)) > 0).all()


def test_the_same_state_gives_the_same_drawing():
    pair = []
    for _ in range(2):
        drawing = make_drawing(3, seed=5)
        drawing.drape(ellipse(drawing.x, drawing.y, drawing.vary(4, 9), 6.0), drawing.accent())
        pair.append(drawing.finish(tuple(FABRICS)))
    np.testing.assert_array_equal(*pair)

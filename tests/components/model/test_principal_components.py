import numpy as np
import pytest

from components.model import principal_components

SHAPE = (6, 5, 3)
VALUES = 90
RNG = np.random.default_rng(0)


def images_of(levels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8).reshape(-1, *SHAPE)


def plane_images(count: int, *, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Images near a plane of two directions, and the directions."""
    directions = np.linalg.qr(RNG.normal(size=(VALUES, 2)))[0]
    coordinates = RNG.normal(size=(count, 2)) * [200, 80]
    levels = 128 + coordinates @ directions.T + noise * RNG.normal(size=(count, VALUES))
    return images_of(levels), directions


def test_the_components_are_those_of_the_images():
    images, directions = plane_images(500, noise=4)
    found = principal_components.of_images(images, 2)
    np.testing.assert_allclose(found.mean, np.full(VALUES, 128 / 255), atol=0.1)
    # One basis in terms of the other: a signed permutation, here in the order of the scales.
    np.testing.assert_allclose(np.abs(found.directions.T @ directions), np.eye(2), atol=0.05)
    np.testing.assert_allclose(found.scales * 255, [200, 80], rtol=0.15)
    assert found.noise * 255 == pytest.approx(4, rel=0.1)
    assert found.channels == 3


def test_they_are_orthonormal_and_their_coordinates_uncorrelated():
    images = images_of(RNG.integers(0, 256, size=(60, VALUES)))
    found = principal_components.of_images(images, 8)
    np.testing.assert_allclose(found.directions.T @ found.directions, np.eye(8), atol=1e-5)
    coordinates = (images.reshape(60, -1) / 255 - found.mean) @ found.directions
    covariance = coordinates.T @ coordinates / 60
    np.testing.assert_allclose(covariance, np.diag(found.scales**2), atol=1e-4)
    assert (np.diff(found.scales) <= 0).all()


def test_an_image_counts_by_the_logarithm_of_its_error():
    """Many images of a faint direction outweigh a few of a strong one."""
    strong, faint = np.linalg.qr(RNG.normal(size=(VALUES, 2)))[0].T
    many = 128 + 60 * RNG.normal(size=(300, 1)) * faint
    few = 128 + 400 * RNG.normal(size=(20, 1)) * strong
    found = principal_components.of_images(images_of(np.concatenate([many, few])), 1)
    assert abs(found.directions[:, 0] @ faint) > 0.95


def test_the_largest_element_of_a_direction_is_positive():
    images, _ = plane_images(50, noise=10)
    directions = principal_components.of_images(images, 3).directions
    assert (directions.max(axis=0) == np.abs(directions).max(axis=0)).all()


def test_they_are_a_function_of_the_images():
    images, _ = plane_images(50, noise=10)
    first, second = (principal_components.of_images(images, 3) for _ in range(2))
    np.testing.assert_array_equal(first.directions, second.directions)
    np.testing.assert_array_equal(first.scales, second.scales)


def test_components_beyond_the_rank_of_the_images_have_no_scale():
    images = images_of(128 + RNG.normal(size=(3, 1)) * np.full(VALUES, 10.0))
    found = principal_components.of_images(images, 5)
    assert np.isfinite(found.directions).all()
    np.testing.assert_allclose(found.scales[1:], 0, atol=0.03)
    assert found.noise > 0


def test_more_components_than_values_have_no_scale():
    images = RNG.integers(0, 256, (40, 1, 2, 3), np.uint8)
    few, many = (principal_components.of_images(images, count) for count in (6, 9))
    np.testing.assert_allclose(few.directions.T @ few.directions, np.eye(6), atol=1e-5)
    np.testing.assert_array_equal(many.directions, np.pad(few.directions, [(0, 0), (0, 3)]))
    np.testing.assert_array_equal(many.scales, np.pad(few.scales, (0, 3)))


def test_the_number_of_images_is_bounded_by_their_size():
    assert principal_components.sufficient_images((28, 28, 1)) == 4096
    assert principal_components.sufficient_images((128, 128, 3)) == 1365
    assert principal_components.sufficient_images((100_000, 1_000, 3)) == 1

import re

import numpy as np
import pytest

from components.model.latent_plane import Plane

RNG = np.random.default_rng(0)


def test_with_two_latents_the_plane_is_the_latent_space():
    means = RNG.normal(size=(10, 2))
    plane = Plane.of(means)
    np.testing.assert_array_equal(plane.project(means), means)
    grid = plane.grid([0.05, 0.5, 0.95])
    assert grid.shape == (9, 2)
    np.testing.assert_allclose(grid[4], [0, 0], atol=1e-6)
    # The first row is at the lowest quantile of the vertical axis; columns follow the horizontal
    # axis.
    np.testing.assert_allclose(grid[2], [1.644854, -1.644854], rtol=1e-5)


def test_with_more_latents_the_plane_follows_the_leading_principal_components():
    directions = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
    scores = RNG.normal(size=(20_000, 5)) * [5, 3, 0.1, 0.1, 0.1]
    means = scores @ directions.T + 7
    plane = Plane.of(means)
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-6)
    for axis, direction in zip(plane.axes, directions.T[:2], strict=True):
        assert abs(axis @ direction) > 0.99
    np.testing.assert_allclose(plane.scales, [5, 3], rtol=0.05)
    points = plane.project(means)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-6)
    # A grid point is at the normal quantile times the component's standard deviation.
    corner = plane.project(plane.grid([0.05, 0.95])[3:])
    np.testing.assert_allclose(corner, [1.644854 * plane.scales], rtol=1e-4)


@pytest.mark.parametrize("latents", [1, 2, 3])
def test_any_number_of_latents_has_a_plane(latents):
    means = RNG.normal(size=(10, latents)).astype(np.float32)
    plane = Plane.of(means)
    assert plane.project(means).shape == (10, 2)
    assert plane.grid([0.1, 0.9]).shape == (4, latents)


@pytest.mark.parametrize(
    ("latents", "names", "distribution"),
    [
        (1, r"latent 1, no second latent", "the prior"),
        (2, r"latent 1, latent 2", "the prior"),
        (
            3,
            r"principal component 1 \(\d\d% of variance\), principal component 2 \(\d\d% of.*",
            "the embeddings",
        ),
    ],
)
def test_the_axes_are_named(latents, names, distribution):
    plane = Plane.of(RNG.normal(size=(40, latents)).astype(np.float32))
    assert re.fullmatch(names, ", ".join(plane.names))
    assert plane.distribution == distribution


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("latents", [1, 2, 3, 8])
def test_equal_embeddings_have_a_plane(count, latents):
    means = np.full((count, latents), 0.5, np.float32)
    plane = Plane.of(means)
    assert plane.project(means).shape == (count, 2)
    assert np.isfinite(plane.grid([0.1, 0.9])).all()
    assert "nan" not in "".join(plane.names)

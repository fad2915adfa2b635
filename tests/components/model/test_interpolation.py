import numpy as np
import pytest

from components.model import interpolation
from components.model.architecture import Architecture


def test_arcs_keep_their_distance_from_the_origin_and_turn_evenly():
    shares = np.linspace(0, 1, 4, dtype=np.float32)
    start, end = np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]])
    (points,) = interpolation.arcs(start, end, shares)
    angles = np.radians([0, 30, 60, 90])
    np.testing.assert_allclose(points, 2 * np.stack([np.cos(angles), np.sin(angles)], 1), atol=1e-6)


@pytest.mark.parametrize("end", [[2.0, 2.0], [1.0, 1.0], [0.0, 0.0], [-1.0, -1.0]])
def test_between_parallel_vectors_the_path_is_a_line(end):
    shares = np.linspace(0, 1, 3, dtype=np.float32)
    start = np.ones((1, 2), np.float32)
    (points,) = interpolation.arcs(start, np.array([end], np.float32), shares)
    np.testing.assert_allclose(points, np.linspace([1, 1], end, 3), atol=1e-6)


def architecture(**fields) -> Architecture:
    return Architecture(image_shape=(8, 8, 1), network="mlp", latents=2, widths=(4,), **fields)


@pytest.mark.parametrize(
    "fields", [{"prior": "real_nvp"}, {"levels": 2, "network": "residual", "widths": (4, 4, 8)}]
)
def test_only_one_level_with_a_standard_normal_prior_follows_the_sphere(fields):
    settings = {"network": "mlp", "widths": (4,)} | fields
    other = Architecture(image_shape=(8, 8, 1), latents=2, **settings)
    shares = np.array([0, 0.5, 1], np.float32)
    start, end = np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32)
    (arc,) = interpolation.interpolate(architecture(), start, end, shares)
    (line,) = interpolation.interpolate(other, start, end, shares)
    np.testing.assert_allclose(np.linalg.norm(arc, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(line[1], [0.5, 0.5])
    np.testing.assert_allclose(line[[0, 2]], arc[[0, 2]], atol=1e-6)

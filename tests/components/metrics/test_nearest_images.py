import numpy as np

from components.metrics.nearest_images import nearest_images

RNG = np.random.default_rng(0)


def images(count: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, 5, 4, 3), np.uint8)


def test_the_nearest_images_are_those_of_the_definition():
    queries, others = images(7), images(50)
    nearest, distances = nearest_images(queries, [others[:20], others[20:21], others[21:]])
    for query, found, distance in zip(queries, nearest, distances, strict=True):
        differences = others / 255 - query / 255
        errors = np.sqrt(np.square(differences).mean(axis=(1, 2, 3)))
        np.testing.assert_array_equal(found, others[errors.argmin()])
        np.testing.assert_allclose(distance, errors.min(), rtol=1e-12)


def test_a_memorized_image_has_the_distance_0():
    others = images(30)
    nearest, distances = nearest_images(others[[25, 3]], [others[:10], others[10:]])
    np.testing.assert_array_equal(nearest, others[[25, 3]])
    assert distances.tolist() == [0, 0]


def test_a_black_and_a_white_image_are_at_distance_1():
    black = np.zeros((1, 8, 8, 1), np.uint8)
    _, distances = nearest_images(black, [black + 255])
    assert distances.tolist() == [1]


def test_of_several_nearest_images_the_first_is_found():
    query = np.full((1, 1, 1, 3), 100, np.uint8)
    lower, higher = query - 5, query + 5
    for batches in ([np.concatenate([lower, higher])], [lower, higher]):
        nearest, _ = nearest_images(query, batches)
        np.testing.assert_array_equal(nearest, lower)

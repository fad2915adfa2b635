"""Drawn garments are reproducible, varied, smooth, and different from class to class."""

import numpy as np
import pytest

from components.sources.garments import CLASS_NAMES, IMAGE_SHAPE, draw_garments

CLASSES = np.arange(len(CLASS_NAMES))


def draw(labels, seed=0):
    return draw_garments(np.asarray(labels), np.random.default_rng(seed))


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(7).permutation(np.repeat(CLASSES, 60))


@pytest.fixture(scope="module")
def images(labels):
    return draw(labels)


def test_class_names_are_those_of_fashion_mnist():
    assert CLASS_NAMES == (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )


def test_shape_and_type(images, labels):
    assert images.shape == (len(labels), *IMAGE_SHAPE)
    assert images.dtype == np.uint8


def test_the_same_state_draws_the_same_pixels(images, labels):
    np.testing.assert_array_equal(draw(labels), images)


def test_another_state_draws_other_images(images, labels):
    assert (draw(labels, seed=1) != images).any(axis=(1, 2, 3)).all()


def test_the_generator_advances():
    rng = np.random.default_rng(0)
    assert (draw_garments(CLASSES, rng) != draw_garments(CLASSES, rng)).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("label", CLASSES, ids=CLASS_NAMES)
def test_no_two_images_of_a_class_are_alike(images, labels, label):
    same_class = images[labels == label].reshape(-1, np.prod(IMAGE_SHAPE)).astype(np.float32)
    difference = np.abs(same_class[:, None] - same_class[None]).mean(axis=-1)
    np.fill_diagonal(difference, np.inf)
    assert difference.min() > 1  # gray levels, mean over all pixels


@pytest.mark.parametrize("label", CLASSES, ids=CLASS_NAMES)
def test_garments_fill_most_of_the_frame(images, labels, label):
    is_drawn = images[labels == label, :, :, 0] > 0
    coverage = is_drawn.mean(axis=(1, 2))
    assert coverage.min() > 0.08
    assert coverage.max() < 0.85
    longer_side = np.maximum(is_drawn.any(axis=1).sum(axis=1), is_drawn.any(axis=2).sum(axis=1))
    assert np.median(longer_side) >= 22


def test_edges_are_smooth(images):
    """Pixels on the outline have values between the garment and the background."""
    flat = images[..., 0].astype(np.int32)
    brightest = flat.max(axis=(1, 2), keepdims=True)
    assert (brightest > 30).all()
    in_between = (flat > 0.05 * brightest) & (flat < 0.5 * brightest)
    assert in_between.any(axis=(1, 2)).all()
    assert all(np.unique(image).size > 20 for image in flat)


def test_the_nearest_class_mean_predicts_the_class(images, labels):
    def flatten(batch):
        return batch.reshape(len(batch), -1).astype(np.float32)

    means = np.stack([flatten(images[labels == label]).mean(axis=0) for label in CLASSES])
    others = flatten(draw(labels, seed=1))
    distances = ((others[:, None] - means) ** 2).sum(axis=-1)
    assert (distances.argmin(axis=1) == labels).mean() > 0.6


@pytest.mark.parametrize("shoe", ["Sandal", "Sneaker", "Ankle boot"])
def test_toes_point_left(images, labels, shoe):
    coverage = (images[labels == CLASS_NAMES.index(shoe), :, :, 0] > 0).mean(axis=(0, 1))
    assert coverage[:14].sum() < coverage[14:].sum()


@pytest.mark.parametrize("wrong", [-1, 10, 255])
def test_labels_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=rf"labels must be in 0\.\.9\. Received: \[{wrong}\]"):
        draw([0, wrong, 9])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_labels_of_any_integer_type_are_accepted(dtype):
    np.testing.assert_array_equal(draw(CLASSES.astype(dtype)), draw(CLASSES))


def test_without_labels_there_are_no_images():
    images = draw(np.zeros(0, np.int64))
    assert images.shape == (0, *IMAGE_SHAPE)
    assert images.dtype == np.uint8

import dataclasses

import numpy as np
import pytest

from components.metrics.feature_classifier import ClassifierSettings, FeatureClassifier
from components.sources.garments import draw_garments

SETTINGS = ClassifierSettings(features=16, steps=60)
SHAPE = (28, 28, 1)


def garments(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count) % 4
    return draw_garments(labels, np.random.default_rng(seed)), labels


@pytest.fixture(scope="module")
def classifier() -> FeatureClassifier:
    return FeatureClassifier.train(*garments(400), classes=4, settings=SETTINGS)


def read_back(data: bytes, **changes) -> FeatureClassifier:
    options = {"image_shape": SHAPE, "classes": 4, "settings": SETTINGS} | changes
    return FeatureClassifier.from_bytes(data, **options)


def test_it_tells_classes_of_unseen_images_apart(classifier):
    images, labels = garments(200, seed=1)
    assert (classifier.predict(images) == labels).mean() > 0.9


def test_the_features_of_the_training_images_are_standardized(classifier):
    features = classifier.features(garments(400)[0])
    assert features.shape == (400, 16)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    assert features.var(axis=0).sum() == pytest.approx(16, rel=1e-4)


def test_no_feature_is_the_same_for_all_images(classifier):
    assert (classifier.features(garments(200, seed=1)[0]).std(axis=0) > 1e-3).all()


def test_the_features_of_an_image_do_not_depend_on_the_batch(classifier):
    images, _ = garments(30, seed=1)
    one_by_one = [classifier.features(images[row : row + 1])[0] for row in range(30)]
    np.testing.assert_allclose(one_by_one, classifier.features(images), rtol=1e-4, atol=1e-5)


def test_equal_examples_and_settings_give_equal_bytes_and_others_do_not():
    def trained(seed: int) -> bytes:
        settings = dataclasses.replace(SETTINGS, seed=seed, steps=3)
        return FeatureClassifier.train(*garments(200), classes=4, settings=settings).to_bytes()

    assert trained(0) == trained(0)
    assert trained(0) != trained(1)


def test_a_file_gives_the_same_classifier(classifier):
    images, _ = garments(50, seed=1)
    copy = read_back(classifier.to_bytes())
    np.testing.assert_array_equal(copy.features(images), classifier.features(images))
    np.testing.assert_array_equal(copy.predict(images), classifier.predict(images))
    assert copy.to_bytes() == classifier.to_bytes()


def test_a_file_that_holds_no_such_classifier_is_refused(classifier):
    data = classifier.to_bytes()
    for mistaken, changes in (
        (data[:-1], {}),
        (data + b"\0\0\0\0", {}),
        (b"", {}),
        (data, {"classes": 5}),
        (data, {"image_shape": (28, 28, 3)}),
    ):
        with pytest.raises(ValueError, match="bytes, not"):
            read_back(mistaken, **changes)
    for number in (np.nan, np.inf, 0.0, -1.0):
        with pytest.raises(ValueError, match="not those of a classifier"):
            read_back(data[:-4] + np.array(number, "<f4").tobytes())


@pytest.mark.parametrize(
    ("shape", "steps"),
    [((3, 3, 1), 150), ((5, 17, 3), 60), ((64, 64, 3), 30), ((130, 40, 1), 30)],
    ids=str,
)
def test_images_of_any_size_have_features(shape, steps):
    """One class has a bright left half, the other a bright right half."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = rng.integers(0, 100, (60, *shape), np.uint8)
    half = shape[1] // 2
    for image, label in zip(images, labels, strict=True):
        image[:, slice(0, half) if label else slice(-half, None)] += 150
    settings = dataclasses.replace(SETTINGS, batch_size=20, steps=steps, epochs=50)
    classifier = FeatureClassifier.train(images, labels, classes=2, settings=settings)
    assert classifier.features(images).shape == (60, 16)
    assert (classifier.predict(images) == labels).mean() > 0.9


def test_images_that_are_all_equal_have_finite_features():
    images = np.full((20, 8, 8, 1), 7, np.uint8)
    settings = dataclasses.replace(SETTINGS, steps=2)
    classifier = FeatureClassifier.train(images, np.arange(20) % 2, classes=2, settings=settings)
    np.testing.assert_allclose(classifier.features(images), 0, atol=1e-5)

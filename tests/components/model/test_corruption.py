from statistics import NormalDist

import numpy as np
import pytest
import tensorflow as tf

from components.base.errors import ConfigError
from components.model.corruption import (
    CHOICES,
    KINDS,
    corrupt_for_evaluation,
    parse_corruption,
)

RNG = np.random.default_rng(0)


def corrupted(text: str, image: np.ndarray, count: int = 4000) -> np.ndarray:
    """Corruptions of one image [height, width, channels], as levels, [count, ...]."""
    images = np.broadcast_to(np.float32(image), (count, *np.shape(image)))
    result = parse_corruption(text)(
        tf.constant(images),
        RNG.uniform(1e-6, 1, images.shape).astype(np.float32),
        RNG.uniform(0, 1, (count, CHOICES)).astype(np.float32),
    ).numpy()
    levels = result * 255
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    return np.rint(levels).astype(int)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gaussian:0.2", "gaussian:0.2"),
        ("gaussian:0.1-0.5, mask:0.3", "gaussian:0.1-0.5,mask:0.3"),
        ("speckle:.1", "speckle:0.1"),
        ("salt_pepper:0-1", "salt_pepper:0-1"),
    ],
)
def test_a_setting_is_read(text, expected):
    assert str(parse_corruption(text)) == expected


def test_none_is_no_corruption():
    assert parse_corruption("none") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gausian:0.2", "unknown kind 'gausian' in corruption; nearest: gaussian"),
        ("", "unknown kind ''"),
        ("gaussian:0.2,", "unknown kind ''"),
        ("gaussian", "needs a strength or a range of strengths after gaussian"),
        ("gaussian:0.2-", "needs a strength"),
        ("mask:x", "needs a strength"),
        ("mask:1.5", "must be from 0 to 1, the smaller one first"),
        ("gaussian:0.5-0.1", "must be from 0 to 10"),
        ("gaussian:-0.1", "needs a strength"),
        ("gaussian:nan", "must be from 0 to 10"),
        ("gaussian:0-inf", "must be from 0 to 10"),
    ],
)
def test_a_wrong_setting_is_an_error_of_one_line(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_corruption(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "factor"), [("gaussian", 1.0), ("speckle", 0.5)])
def test_noise_has_its_standard_deviation_and_is_clipped(kind, factor):
    values = corrupted(f"{kind}:0.1", np.full((4, 4, 1), 0.5)) / 255
    scale = 0.1 * factor
    # Rounding adds the variance of a uniform step.
    expected = np.sqrt(scale**2 + 1 / 255**2 / 12)
    assert values.std() == pytest.approx(expected, rel=0.02)
    assert values.mean() == pytest.approx(0.5, abs=5 * scale / np.sqrt(values.size))
    below = (values < 0.5 - scale).mean()
    assert below == pytest.approx(NormalDist().cdf(-1), abs=0.01)


def test_half_of_the_noise_on_black_is_clipped():
    levels = corrupted("gaussian:0.4", np.zeros((8, 8, 1)))
    # Φ(0.5 / 255 / 0.4) of the values round to 0.
    assert (levels == 0).mean() == pytest.approx(0.502, abs=0.005)
    assert levels.max() == 255
    assert (corrupted("speckle:0.4", np.zeros((8, 8, 1))) == 0).all()


def test_salt_and_pepper_are_equally_frequent():
    levels = corrupted("salt_pepper:0.3", np.full((4, 4, 3), 102 / 255))
    for level, share in ((0, 0.15), (255, 0.15), (102, 0.7)):
        assert (levels == level).mean() == pytest.approx(share, abs=0.006)


def test_a_masked_pixel_is_black_in_all_channels():
    levels = corrupted("mask:0.25", np.full((4, 4, 3), 1.0))
    is_black = (levels == 0).all(axis=-1)
    np.testing.assert_array_equal(is_black, (levels == 0).any(axis=-1))
    assert is_black.mean() == pytest.approx(0.25, abs=0.01)


def test_each_image_has_one_strength_of_the_range():
    levels = corrupted("mask:0.2-0.6", np.ones((16, 16, 1)), count=2000)
    shares = (levels == 0).mean(axis=(1, 2, 3))
    assert shares.mean() == pytest.approx(0.4, abs=0.01)
    # The variance of a uniform strength, and that of a share of 256 pixels.
    expected = 0.4**2 / 12 + (0.4 * 0.6 - 0.4**2 / 12) / 256
    assert shares.var() == pytest.approx(expected, rel=0.1)


def test_each_image_has_one_of_the_kinds():
    levels = corrupted("mask:1,salt_pepper:0,gaussian:0", np.full((2, 2, 1), 0.6), count=3000)
    is_black = (levels == 0).all(axis=(1, 2, 3))
    assert is_black.mean() == pytest.approx(1 / 3, abs=0.03)
    assert (levels[~is_black] == 153).all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_strength_changes_nothing(kind):
    image = RNG.integers(0, 256, (5, 4, 3)) / 255
    np.testing.assert_allclose(corrupted(f"{kind}:0", image, count=3) / 255, [image] * 3, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_set_is_corrupted_alike_in_any_batches(kind):
    pixels = RNG.integers(0, 256, (40, 5, 3, 3), dtype=np.uint8)
    corruption = parse_corruption(f"{kind}:0.1-0.5")
    whole = corrupt_for_evaluation(pixels, corruption)
    assert whole.dtype == np.uint8
    assert whole.shape == pixels.shape
    for size in (1, 7):
        parts = [
            corrupt_for_evaluation(pixels[first : first + size], corruption, first=first)
            for first in range(0, 40, size)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    same = corrupt_for_evaluation(np.full((2, 10, 10, 1), 128, np.uint8), corruption)
    assert (same[0] != same[1]).any()


def test_the_corruption_of_an_evaluation_set_never_changes():
    """Published results rest on these numbers."""
    image = np.full((1, 1, 8, 1), 128, np.uint8)
    noisy = corrupt_for_evaluation(image, parse_corruption("gaussian:0.2"), first=9999)
    assert noisy.ravel().tolist() == [176, 193, 168, 57, 150, 104, 137, 143]

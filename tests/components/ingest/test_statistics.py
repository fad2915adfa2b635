import itertools
import json
import math

import numpy as np
import pytest

from components.ingest.statistics import Statistics, describe, findings


def random_examples(shape, num_classes=4, seed=0, low=0, high=256):
    rng = np.random.default_rng(seed)
    images = rng.integers(low, high, shape, dtype=np.uint8)
    return images, rng.integers(0, num_classes, len(images))


def counted(images, labels, num_classes=4) -> Statistics:
    statistics = Statistics.empty(images.shape[-1], num_classes)
    statistics.add(images, labels)
    return statistics


def assert_equal(one: Statistics, other: Statistics) -> None:
    np.testing.assert_array_equal(one.histogram, other.histogram)
    np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (7, 5, 3, 1), (300, 28, 28, 1), (1, 1, 1, 3), (5, 3, 7, 3)]
)
def test_statistics_equal_those_of_numpy(shape):
    images, labels = random_examples(shape, low=3, high=250)
    statistics = counted(images, labels)
    assert statistics.num_examples == len(images)
    np.testing.assert_array_equal(statistics.labels, [(labels == k).sum() for k in range(4)])
    for channel in range(shape[-1]):
        values = images[..., channel].ravel()
        expected = np.bincount(values, minlength=256)
        np.testing.assert_array_equal(statistics.histogram[channel], expected)
        assert statistics.mean[channel] == pytest.approx(values.mean(), rel=1e-14)
        assert statistics.variance[channel] == pytest.approx(values.var(), rel=1e-12)
        assert statistics.minimum[channel] == values.min()
        assert statistics.maximum[channel] == values.max()


def test_images_need_not_be_contiguous():
    images, labels = random_examples((40, 9, 8, 3))
    views = images[::2, 1:, ::-1], images[:20].transpose(0, 2, 1, 3)
    for view in views:
        assert not view.flags.c_contiguous
        assert_equal(counted(view, labels[:20]), counted(view.copy(), labels[:20]))


def test_variance_is_exact_beyond_floats_and_64_bits():
    # One of 10^12 pixels is 254, the others are 255: the variance is p (1 - p) with p = 10^-12.
    n = 10**12
    statistics = Statistics.empty(1, 1)
    statistics.histogram[0, [254, 255]] = 1, n - 1
    assert statistics.variance[0] == pytest.approx((n - 1) / n**2, rel=1e-15)
    assert statistics.mean[0] == 255 - 1 / n


@pytest.mark.parametrize("channels", [1, 3])
def test_parts_can_be_merged_in_any_order(channels):
    images, labels = random_examples((50, 6, 5, channels))
    total = counted(images, labels)
    cuts = [slice(0, 1), slice(1, 20), slice(20, 20), slice(20, 50)]
    for order in itertools.permutations(cuts):
        merged = Statistics.empty(channels, 4)
        for cut in order:
            merged.merge(counted(images[cut], labels[cut]))
        assert_equal(merged, total)
        added = Statistics.empty(channels, 4)
        for cut in order:
            added.add(images[cut], labels[cut])
        assert_equal(added, total)


def test_merging_does_not_change_the_argument():
    one, other = (counted(*random_examples((9, 4, 4, 1), seed=seed)) for seed in (1, 2))
    before = other.histogram.copy()
    one.merge(other)
    one.merge(other)
    np.testing.assert_array_equal(other.histogram, before)
    assert other.num_examples == 9
    assert one.num_examples == 27


def test_statistics_without_examples():
    empty = Statistics.empty(3, 2)
    empty.add(np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, np.int64))
    assert empty.num_examples == empty.histogram.sum() == 0
    assert all(math.isnan(value) for value in [*empty.mean, *empty.variance])
    assert (empty.minimum > empty.maximum).all()


def test_statistics_survive_json():
    statistics = counted(*random_examples((20, 4, 4, 3)))
    values = json.loads(json.dumps(statistics.as_json()))
    restored = Statistics.from_json(values)
    assert_equal(restored, statistics)
    assert restored.histogram.dtype == restored.labels.dtype == np.int64
    assert_equal(Statistics.from_json(Statistics.empty(1, 5).as_json()), Statistics.empty(1, 5))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, int), r"Received: uint8, \[2, 4, 4, 1\]"),
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros(2, int), "Received: float32"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros(4, int), r"Received: uint8, \[4, 4, 3\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, int), r"shape \[2\]. Received: \[3\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 5]), r"in 0..4. Received: \[5\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([-1, 0]), r"in 0..4. Received: \[-1\]"),
    ],
)
def test_invalid_examples_are_refused_and_not_counted(images, labels, message):
    statistics = Statistics.empty(3, 5)
    with pytest.raises(ValueError, match=message):
        statistics.add(images, labels)
    assert statistics.histogram.sum() == statistics.num_examples == 0


def test_statistics_of_different_shapes_cannot_be_merged():
    with pytest.raises(ValueError, match=r"equal shapes.*\(1, 256\), \(2,\).*\(3, 256\)"):
        Statistics.empty(1, 2).merge(Statistics.empty(3, 2))
    with pytest.raises(ValueError, match="equal shapes"):
        Statistics.empty(1, 2).merge(Statistics.empty(1, 1))


def test_the_description_has_every_split():
    images = np.array([0, 10, 20, 10], np.uint8).reshape(2, 2, 1, 1)
    train = counted(images, np.array([1, 1]), num_classes=2)
    described = describe(
        {"train": train, "test": Statistics.empty(1, 2)},
        class_names=["cat", "dog"],
        bytes_by_shard={"train": {"a-0": 12, "a-1": 34}, "test": {}},
    )
    histogram = [0] * 256
    histogram[0], histogram[10], histogram[20] = 1, 2, 1
    assert json.loads(json.dumps(described, allow_nan=False)) == {
        "train": {
            "examples": 2,
            "examples_by_class": {"cat": 0, "dog": 2},
            "channels": [
                {"mean": 10.0, "variance": 50.0, "min": 0, "max": 20, "histogram": histogram}
            ],
            "bytes_by_shard": {"a-0": 12, "a-1": 34},
        },
        "test": {
            "examples": 0,
            "examples_by_class": {"cat": 0, "dog": 0},
            "channels": [],
            "bytes_by_shard": {},
        },
    }


def test_the_description_keeps_the_order_of_channels():
    images = np.broadcast_to(np.array([1, 2, 3], np.uint8), (5, 4, 4, 3))
    described = describe(
        {"train": counted(images, np.zeros(5, int))},
        class_names="abcd",
        bytes_by_shard={"train": {}},
    )
    assert [channel["mean"] for channel in described["train"]["channels"]] == [1, 2, 3]
    assert [channel["variance"] for channel in described["train"]["channels"]] == [0, 0, 0]


def statistics_of(*intensities: int) -> Statistics:
    statistics = Statistics.empty(1, 1)
    images = np.array(intensities, np.uint8).reshape(-1, 1, 1, 1)
    statistics.add(images, np.zeros(len(images), np.int64))
    return statistics


@pytest.mark.parametrize(
    ("intensities", "message"),
    [
        ([0, 0], "all images of train are of one color, at most 0 of 255: 16-bit images must use"),
        ([9, 9, 9], "of one color, at most 9 of 255"),
        ([255, 255], "of one color, at most 255 of 255"),
        ([0, 1], "value in train is 1 of 255, so 7 of 8 bits are unused (masks, or 12-bit"),
        ([3, 15], "is 15 of 255, so 4 of 8 bits are unused (masks, or 12-bit"),
        ([0, 16], "is 16 of 255, so 3 of 8 bits are unused (fewer bits?)"),
        ([0, 127], "is 127 of 255, so 1 of 8 bits are unused (fewer bits?)"),
        ([0, 128], None),
        ([], None),
    ],
)
def test_pixels_that_cannot_be_right_are_found(intensities, message):
    lines = findings({"train": statistics_of(*intensities)})
    assert [True] * (message is not None) == [message in line for line in lines]
    assert not any("\n" in line for line in lines)


def test_a_finding_is_one_line_for_all_splits_that_have_it():
    lines = findings(
        {
            "train": statistics_of(0, 255),
            "validation": statistics_of(0, 0),
            "test": statistics_of(1, 1),
        }
    )
    assert len(lines) == 1
    assert "all images of validation, test are of one color, at most 1 of 255" in lines[0]
    assert findings({"train": Statistics.empty(3, 2)}) == []

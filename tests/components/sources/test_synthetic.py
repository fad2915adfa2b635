import numpy as np
import pytest

from components.ingest.conversion import Conversion
from components.sources.garments import CLASS_NAMES
from components.sources.source import Slice
from components.sources.synthetic import SyntheticSource
from tests.conftest import read_split


def test_there_is_one_test_image_for_six_training_images_rounded_up():
    assert SyntheticSource(size=60_000).num_examples == {"train": 60_000, "test": 10_000}
    assert SyntheticSource(size=601).num_examples == {"train": 601, "test": 101}
    assert SyntheticSource(size=1).num_examples == {"train": 1, "test": 1}


def test_a_slice_depends_on_the_seed_and_on_nothing_else():
    source = SyntheticSource(size=8500, seed=0)
    last = source.slices()[1]
    assert last == Slice("train", "drawn", 8000, 500)
    one, same = next(source.read(last)), next(source.read(last))
    np.testing.assert_array_equal(one.images, same.images)
    assert len(one) == 500
    other = next(SyntheticSource(size=8500, seed=1).read(last))
    assert (one.images != other.images).any()


def test_a_larger_dataset_begins_with_the_images_of_a_smaller_one():
    small, large = SyntheticSource(size=1000), SyntheticSource(size=2000)
    batch = read_split(large)
    np.testing.assert_array_equal(batch.images[:1000], read_split(small).images)


def test_splits_and_draws_have_different_images():
    source = SyntheticSource(size=2000)
    train, test = read_split(source), read_split(source, "test")
    assert (train.images[:334] != test.images).any(axis=(1, 2, 3)).all()
    assert (train.images[:1000] != train.images[1000:]).any(axis=(1, 2, 3)).all()


def test_classes_are_equally_frequent():
    source = SyntheticSource(size=30)
    batch = read_split(source)
    assert source.class_names == list(CLASS_NAMES)
    np.testing.assert_array_equal(np.bincount(batch.labels), np.full(10, 3))
    assert batch.ids == [f"train-{index:08d}" for index in range(30)]


def test_the_fingerprint_covers_size_and_seed():
    fingerprints = {SyntheticSource(n, s).input.fingerprint for n in (6, 7) for s in (0, 1)}
    assert len(fingerprints) == 4
    assert SyntheticSource(6, 1).input.path is None


def test_the_largest_seed_draws_images():
    assert len(read_split(SyntheticSource(6, 2**63 - 1))) == 6


@pytest.mark.parametrize("conversion", [Conversion(), Conversion(image_size=(8, 6), channels=3)])
def test_images_are_converted_and_the_settings_say_so(conversion):
    source = SyntheticSource(size=6, seed=2, conversion=conversion)
    shape = (8, 6, 3) if conversion.channels else (28, 28, 1)
    assert read_split(source).shape == shape
    assert source.settings == {
        "synthetic_size": 6,
        "synthetic_seed": 2,
        **conversion.as_json(),
    }

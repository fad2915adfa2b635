"""What all sources with one array per split have in common, on arrays in raw files."""

import dataclasses
import functools
import os
import pickle
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from etils import epath

from components.base.errors import ConfigError, WorkError
from components.ingest.conversion import Conversion
from components.ingest.rejection import Reason, Rejected
from components.sources.array_file import StoredArray
from components.sources.array_source import ArraySource, ArraySplit
from components.sources.source import folder_name
from tests.conftest import read_split

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 5, 4), np.uint8)
LABELS = np.arange(30) % 7


@dataclasses.dataclass(frozen=True)
class RawSource(ArraySource):
    """Raw arrays in a folder; their names have the form SPLIT_KIND_SHAPE_DTYPE."""

    seekable: bool = True

    @property
    def name(self) -> str:
        return folder_name(self.path)

    @property
    def _files(self) -> Sequence[epath.Path]:
        return sorted(self.path.iterdir())

    @functools.cached_property
    def _splits(self) -> Mapping[str, ArraySplit]:
        arrays: dict[str, dict[str, StoredArray]] = {}
        for path in self._files:
            split, kind, shape, dtype = path.name.split("_")
            arrays.setdefault(split, {})[kind] = StoredArray(
                f"{split} {kind}",
                path,
                "",
                tuple(map(int, shape.split("x"))),
                np.dtype(dtype),
                0,
                seekable=self.seekable,
            )
        return {
            split: ArraySplit(kinds["images"], kinds.get("labels"))
            for split, kinds in arrays.items()
        }


def write(folder, images: np.ndarray, labels: np.ndarray | None = None, split: str = "train"):
    folder.mkdir(exist_ok=True)
    arrays = {"images": images} | ({} if labels is None else {"labels": labels})
    for kind, array in arrays.items():
        shape = "x".join(map(str, array.shape))
        (folder / f"{split}_{kind}_{shape}_{array.dtype.str}").write_bytes(array.tobytes())
    return epath.Path(folder)


def test_images_labels_and_ids_are_read(tmp_path):
    source = RawSource(write(tmp_path / "a", IMAGES, LABELS))
    batch = read_split(source)
    np.testing.assert_array_equal(batch.images, IMAGES[..., np.newaxis])
    np.testing.assert_array_equal(batch.labels, LABELS)
    assert batch.ids == [f"train-{index:08d}" for index in range(30)]
    assert source.num_examples == {"train": 30}
    assert source.settings == {"image_size": None, "channels": None}


def test_classes_are_the_numbers_up_to_the_highest_label_of_all_splits(tmp_path):
    write(tmp_path / "a", IMAGES, LABELS)
    source = RawSource(write(tmp_path / "a", IMAGES[:2], np.array([9, 0]), "test"))
    assert source.class_names == [str(label) for label in range(10)]


def test_images_without_labels_are_the_last_class(tmp_path):
    source = RawSource(write(tmp_path / "a", IMAGES))
    assert source.class_names == ["unlabelled"]
    assert set(read_split(source).labels) == {0}
    source = RawSource(write(tmp_path / "a", IMAGES[:4], LABELS[:4], "test"))
    assert source.class_names == [*"0123", "unlabelled"]
    assert set(read_split(source).labels) == {4}


def test_the_first_of_several_labels_is_used(tmp_path):
    labels = np.stack([LABELS, np.full(30, 70_000)], axis=1)
    source = RawSource(write(tmp_path / "a", IMAGES, labels))
    np.testing.assert_array_equal(read_split(source).labels, LABELS)
    assert len(source.class_names) == 7


@pytest.mark.parametrize("bad", [-2, 65_536, 2**62])
def test_labels_that_cannot_be_classes_are_rejected(tmp_path, bad):
    labels = np.where(np.arange(30) == 4, bad, LABELS)
    source = RawSource(write(tmp_path / "a", IMAGES, labels))
    rejected, batch = source.read(source.slices()[0])
    assert (rejected.id, rejected.reason) == ("train-00000004", Reason.BAD_LABEL)
    assert rejected.label is None
    assert rejected.detail == f"label {bad} is outside 0..65535"
    others = np.delete(np.arange(30), 4)
    np.testing.assert_array_equal(batch.images[..., 0], IMAGES[others])
    np.testing.assert_array_equal(batch.labels, LABELS[others])
    assert batch.ids == [f"train-{index:08d}" for index in others]
    assert len(source.class_names) == 7


def test_no_batch_is_left_of_inputs_that_are_all_rejected(tmp_path):
    source = RawSource(write(tmp_path / "a", IMAGES, np.full(30, -2)))
    items = list(source.read(source.slices()[0]))
    assert len(items) == 30
    assert all(isinstance(item, Rejected) for item in items)
    assert source.class_names == []


def test_images_that_cannot_be_converted_are_rejected(tmp_path):
    rgba = np.zeros((10, 5, 4, 4), np.uint8)
    path = write(tmp_path / "a", rgba, LABELS[:10])
    source = RawSource(path)
    items = list(source.read(source.slices()[0]))
    assert all(isinstance(item, Rejected) for item in items)
    assert [(item.id, item.label) for item in items] == [
        (f"train-{index:08d}", label) for index, label in enumerate(LABELS[:10])
    ]
    assert {item.reason for item in items} == {Reason.WRONG_SHAPE}
    assert read_split(RawSource(path, Conversion(channels=1))).shape == (5, 4, 1)


def test_slices_are_8_to_32_mib_or_a_64th_of_all_images(tmp_path):
    row = 4 << 20
    sizes = {4: 2, 200: 3, 1000: 8}  # Images of 4 MiB, and how many of them are in a slice.
    for count, expected in sizes.items():
        array = StoredArray(
            "", epath.Path("f"), "", (count, 2048, 2048), np.dtype("u1"), 0, seekable=True
        )
        source = RawSource(epath.Path(tmp_path))
        vars(source)["_splits"] = {"train": ArraySplit(array, None)}
        parts = source.slices()
        assert array.row_bytes == row
        assert {part.examples for part in parts[:-1]} == {expected}
        assert sum(part.examples for part in parts) == count
        assert [part.first for part in parts] == list(range(0, count, expected))


def test_an_array_that_is_not_seekable_is_one_slice(tmp_path):
    images = np.zeros((20_000, 28, 28), np.uint8)
    path = write(tmp_path / "a", images)
    assert len(RawSource(path).slices()) == 2
    (part,) = RawSource(path, seekable=False).slices()
    assert part.examples == 20_000


def test_slices_are_read_in_any_order(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (50_000, 28, 28), np.uint8)
    source = RawSource(write(tmp_path / "a", images, np.arange(50_000)))
    parts = source.slices()
    assert len(parts) == 5
    batch = read_split(source, parts=reversed(parts))
    np.testing.assert_array_equal(batch.images[..., 0], images)
    np.testing.assert_array_equal(batch.labels, np.arange(50_000))


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (IMAGES / np.float32(255), None, ConfigError, "train images holds float32 images; scale"),
        (IMAGES.astype(np.int64), None, ConfigError, "int64 images; scale them to 0..255"),
        (IMAGES.reshape(30, 20), None, ConfigError, r"shape \(30, 20\); save images with shape"),
        (IMAGES[:, :0], None, ConfigError, r"shape \(30, 0, 4\)"),
        (np.zeros((5, 5, 9, 7), np.uint8), None, ConfigError, r"shape \(5, 5, 9, 7\)"),
        (
            np.zeros((5, 3, 8, 9), np.uint8),
            None,
            ConfigError,
            r"channels first; read it with --layout NCHW",
        ),
        (np.zeros((1, 4097, 8192), bool), None, ConfigError, "at most 33,554,432 pixels"),
        (IMAGES, LABELS / 2, ConfigError, "train labels holds float64 labels; save them as int"),
        (IMAGES, LABELS[:29], WorkError, "train labels holds 29 labels, but train images holds 30"),
    ],
)
def test_arrays_of_another_type_or_shape_are_refused(tmp_path, images, labels, error, message):
    with pytest.raises(error, match=message) as caught:
        RawSource(write(tmp_path / "a", images, labels)).slices()
    assert "\n" not in str(caught.value)


def test_damaged_labels_are_reported_before_images_are_read(tmp_path):
    path = write(tmp_path / "a", IMAGES, LABELS)
    (file,) = path.glob("train_labels*")
    os.truncate(file, 100)
    with pytest.raises(WorkError, match="train labels can be read up to label 12 of 30"):
        RawSource(path).slices()


def test_a_copy_for_a_worker_has_the_headers_but_not_the_labels(tmp_path):
    labels = np.arange(100_000) % 251
    path = write(tmp_path / "a", np.zeros((100_000, 1, 1), np.uint8), labels)
    source = RawSource(path)
    data = pickle.dumps(source)
    assert len(data) < 5000
    copy = pickle.loads(data)
    assert copy.slices() == source.slices()
    np.testing.assert_array_equal(read_split(copy).labels, labels)


def test_labels_of_a_changed_file_are_read_again(tmp_path):
    path = write(tmp_path / "a", IMAGES, LABELS)
    source = RawSource(path)
    np.testing.assert_array_equal(read_split(source).labels, LABELS)
    write(tmp_path / "a", IMAGES, LABELS[::-1])
    (file,) = path.glob("train_labels*")
    os.utime(file, (0, 1_000_000_000))
    np.testing.assert_array_equal(read_split(source).labels, LABELS[::-1])


def test_the_fingerprint_covers_the_files(tmp_path):
    path = write(tmp_path / "a", IMAGES)
    before = RawSource(path).input
    assert before.path == path
    assert RawSource(path).input == before
    write(tmp_path / "a", IMAGES, LABELS)
    assert RawSource(path).input.fingerprint != before.fingerprint


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64, bool])
def test_one_hot_labels_become_class_numbers(tmp_path, dtype):
    source = RawSource(write(tmp_path / "a", IMAGES, np.eye(7, dtype=dtype)[LABELS]))
    np.testing.assert_array_equal(read_split(source).labels, LABELS)
    assert source.class_names == [*"0123456"]


@pytest.mark.parametrize("change", [0, 2, np.nan, -1])
def test_labels_are_one_hot_only_if_every_row_is(tmp_path, change):
    labels = np.eye(7, dtype=np.float32)[LABELS]
    labels[29, 1] = change  # The only 1 of this row.
    with pytest.raises(ConfigError, match="float32 labels; save them as integers"):
        RawSource(write(tmp_path / "a", IMAGES, labels)).slices()


@pytest.mark.parametrize("dtype", [np.int8, np.int64, ">i2"])
def test_a_label_of_minus_one_means_unlabelled(tmp_path, dtype):
    labels = np.where(np.arange(30) % 5 == 0, -1, LABELS).astype(dtype)
    source = RawSource(write(tmp_path / "a", IMAGES, labels))
    assert source.class_names == [*"0123456", "unlabelled"]
    batch = read_split(source)
    np.testing.assert_array_equal(batch.labels, np.where(labels == -1, 7, LABELS))
    np.testing.assert_array_equal(batch.images[..., 0], IMAGES)


def test_a_split_whose_labels_are_all_minus_one_is_unlabelled(tmp_path):
    write(tmp_path / "a", IMAGES, LABELS)
    source = RawSource(write(tmp_path / "a", IMAGES[:4], np.full(4, -1), "test"))
    assert source.class_names == [*"0123456", "unlabelled"]
    assert set(read_split(source, "test").labels) == {7}

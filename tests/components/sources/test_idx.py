import gzip
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from etils import epath

from components.base.errors import ConfigError, WorkError
from components.ingest.conversion import Conversion
from components.sources.idx import IdxSource, is_idx
from components.sources.layout import AxisLayout
from tests.conftest import read_split as read

CODES = {"u1": 0x08, ">i2": 0x0B, ">u2": 0x0B, ">i4": 0x0C, ">f4": 0x0D}


def random_images(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def header(code: int, *sizes: int) -> bytes:
    return struct.pack(f">HBB{len(sizes)}I", 0, code, len(sizes), *sizes)


def idx(array: np.ndarray, dtype: str = "u1") -> bytes:
    return header(CODES[dtype], *array.shape) + array.astype(dtype).tobytes()


def write(folder, files: dict[str, bytes]) -> epath.Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return epath.Path(folder)


IMAGES = random_images(30, 5, 4)
LABELS = np.arange(30) % 7


@pytest.mark.parametrize(
    ("images_file", "labels_file", "split"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "train"),
        ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "test"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte", "train"),
        ("valid-images-idx3-ubyte.gz", "valid-labels-idx1-ubyte", "validation"),
        (
            "emnist-balanced-test-images-idx3-ubyte",
            "emnist-balanced-test-labels-idx1-ubyte",
            "test",
        ),
    ],
)
def test_every_naming_scheme_is_read_exactly(tmp_path, images_file, labels_file, split):
    path = write(tmp_path / "M", {images_file: idx(IMAGES), labels_file: idx(LABELS)})
    source = IdxSource(path)
    assert source.num_examples == {split: 30}
    batch = read(source, split)
    np.testing.assert_array_equal(batch.images, IMAGES[..., np.newaxis])
    np.testing.assert_array_equal(batch.labels, LABELS)
    assert batch.ids == [f"{split}-{index:08d}" for index in range(30)]
    assert source.class_names == list("0123456")


def test_each_split_has_its_own_files(tmp_path):
    files = {
        "train-images-idx3-ubyte": idx(IMAGES),
        "train-labels-idx1-ubyte": idx(LABELS),
        "t10k-images-idx3-ubyte": idx(IMAGES[:4, ::-1]),
        "t10k-labels-idx1-ubyte": idx(LABELS[:4] + 6),
    }
    source = IdxSource(write(tmp_path / "My-Digits", files))
    assert source.name == "my_digits"
    assert source.num_examples == {"train": 30, "test": 4}
    assert source.class_names == [str(label) for label in range(10)]
    np.testing.assert_array_equal(read(source, "test").images[..., 0], IMAGES[:4, ::-1])
    np.testing.assert_array_equal(read(source, "test").labels, [6, 7, 8, 9])


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_images_may_have_channels_or_16_bits(tmp_path, suffix):
    rgb = random_images(6, 3, 5, 3)
    color = write(tmp_path / "color", {f"train-images-idx4-ubyte{suffix}": idx(rgb)})
    np.testing.assert_array_equal(read(IdxSource(color)).images, rgb)
    # 257 * 255 = 65535, so every way of reducing 16 bits to 8 returns the original images.
    deep = IMAGES.astype(np.uint16) * 257
    path = write(tmp_path / "deep", {f"train-images-idx3-short{suffix}": idx(deep, ">u2")})
    np.testing.assert_array_equal(read(IdxSource(path)).images[..., 0], IMAGES)


def test_a_plain_file_is_read_in_slices(tmp_path):
    images = random_images(50_000, 28, 28)
    labels = np.arange(50_000) % 200
    files = {"train-images-idx3-ubyte": idx(images), "train-labels-idx1-ubyte": idx(labels)}
    source = IdxSource(write(tmp_path / "M", files))
    parts = source.slices()
    assert [part.first for part in parts] == [n * (8 * 2**20 // 784) for n in range(5)]
    batch = read(source, parts=reversed(parts))
    np.testing.assert_array_equal(batch.images[..., 0], images)
    np.testing.assert_array_equal(batch.labels, labels)


def test_a_gzipped_file_is_one_slice(tmp_path):
    images = np.zeros((50_000, 28, 28), np.uint8)
    images[:, 3, 4] = np.arange(50_000) % 251
    source = IdxSource(write(tmp_path / "M", {"train-images-idx3-ubyte.gz": idx(images)}))
    assert [part.examples for part in source.slices()] == [50_000]
    np.testing.assert_array_equal(read(source).images[..., 0], images)


def test_images_without_labels_are_the_last_class(tmp_path):
    files = {"train-images-idx3-ubyte": idx(IMAGES), "t10k-images-idx3-ubyte": idx(IMAGES)}
    none = IdxSource(write(tmp_path / "none", files))
    assert none.class_names == ["unlabelled"]
    assert set(read(none).labels) == {0}
    some = IdxSource(write(tmp_path / "some", files | {"train-labels-idx1-ubyte": idx(LABELS)}))
    assert some.class_names == [*"0123456", "unlabelled"]
    np.testing.assert_array_equal(read(some).labels, LABELS)
    assert set(read(some, "test").labels) == {7}


def test_the_class_in_qmnist_is_the_first_of_eight_numbers(tmp_path, capsys):
    labels = np.stack([LABELS, *np.full((7, 30), 70_000)], axis=1)
    files = {
        "qmnist-train-images-idx3-ubyte.gz": idx(IMAGES),
        "qmnist-train-labels-idx2-int.gz": idx(labels, ">i4"),
    }
    source = IdxSource(write(tmp_path / "raw", files))
    np.testing.assert_array_equal(read(source).labels, LABELS)
    assert (source.name, len(source.class_names)) == ("raw_qmnist", 7)
    assert capsys.readouterr().err == ""


def test_one_hot_labels_become_class_numbers(tmp_path, capsys):
    files = {
        "train-images-idx3-ubyte": idx(IMAGES),
        "train-labels-idx2-ubyte": idx(np.eye(7, dtype=np.uint8)[LABELS]),
    }
    np.testing.assert_array_equal(read(IdxSource(write(tmp_path / "raw", files))).labels, LABELS)
    assert capsys.readouterr().err == ""


def test_other_numbers_than_the_first_are_named(tmp_path, capsys):
    labels = np.stack([LABELS, LABELS], axis=1).astype(np.uint8)
    files = {"train-images-idx3-ubyte": idx(IMAGES), "train-labels-idx2-ubyte": idx(labels)}
    np.testing.assert_array_equal(read(IdxSource(write(tmp_path / "raw", files))).labels, LABELS)
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds 2 numbers per image, of which the first is read as its class" in line


def test_images_may_have_another_layout(tmp_path):
    files = {"train-images-idx3-ubyte": idx(np.moveaxis(IMAGES, 0, 2))}
    source = IdxSource(write(tmp_path / "raw", files), layout=AxisLayout.parse("HWN"))
    np.testing.assert_array_equal(read(source).images[..., 0], IMAGES)


def test_a_file_selects_one_of_several_datasets(tmp_path):
    files = {
        "emnist-digits-train-images-idx3-ubyte.gz": idx(IMAGES),
        "emnist-letters-train-images-idx3-ubyte.gz": idx(IMAGES[:5]),
        "emnist-letters-train-labels-idx1-ubyte.gz": idx(LABELS[:5]),
        "emnist-letters-mapping.txt": b"1 65 97",
    }
    folder = write(tmp_path / "EMNIST", files)
    with pytest.raises(ConfigError, match="several datasets; select one") as caught:
        IdxSource(folder).slices()
    for name in ("emnist-digits-train-images-idx3-ubyte.gz", "emnist-letters-train-images"):
        assert name in str(caught.value)
    selected = IdxSource(folder / "emnist-letters-train-images-idx3-ubyte.gz")
    assert selected.name == "emnist_emnist_letters"
    assert selected.num_examples == {"train": 5}
    np.testing.assert_array_equal(read(selected).labels, LABELS[:5])


def test_a_plain_file_is_preferred_to_its_gzipped_copy(tmp_path):
    path = write(
        tmp_path / "M",
        {"train-images-idx3-ubyte": idx(IMAGES), "train-images-idx3-ubyte.gz": idx(IMAGES)},
    )
    assert [part.name for part in IdxSource(path).slices()] == ["train-images-idx3-ubyte"]


def test_a_decompressed_file_may_keep_the_name_of_a_gzipped_one(tmp_path):
    path = write(tmp_path / "M", {})
    (path / "train-images-idx3-ubyte.gz").write_bytes(idx(IMAGES))
    np.testing.assert_array_equal(read(IdxSource(path)).images[..., 0], IMAGES)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"notes.txt": b""}, "is not an IDX file or a folder of IDX files"),
        ({"extra-images-idx3-ubyte": idx(IMAGES)}, "'extra' is not the name of a split"),
        (
            {"val-images-idx3-ubyte": idx(IMAGES), "valid-images-idx3-ubyte": idx(IMAGES)},
            "are both validation; remove one of them",
        ),
        (
            {"train-labels-idx1-ubyte": idx(LABELS)},
            "the file with the images of these labels is missing",
        ),
        ({"train-images-idx3-float": idx(IMAGES, ">f4")}, "float32 images.*save them as uint8"),
        (
            {"train-images-idx1-ubyte": idx(LABELS)},
            r"shape \(30,\); save images with shape \[N, height",
        ),
        ({"train-images-idx3-ubyte": idx(IMAGES[:, :0])}, r"shape \(30, 0, 4\)"),
        (
            {
                "train-images-idx3-ubyte": idx(IMAGES),
                "train-labels-idx1-float": idx(LABELS, ">f4"),
            },
            "float32 labels; save them as integers",
        ),
    ],
)
def test_unsupported_files_are_refused_in_one_line(tmp_path, files, message):
    with pytest.raises(ConfigError, match=message) as caught:
        IdxSource(write(tmp_path / "M", files)).slices()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["notes.txt", "train-images-idx3-ubyte", "none/there"])
def test_a_file_that_is_not_idx_does_not_stand_for_its_folder(tmp_path, name):
    folder = write(tmp_path / "M", {"t10k-images-idx3-ubyte": idx(IMAGES), "notes.txt": b""})
    with pytest.raises(ConfigError, match=f"{name} is not an IDX file"):
        IdxSource(folder / name).slices()


TRUNCATED = idx(IMAGES)[: 16 + 12 * 20 + 7]  # in the middle of image 12


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("train-images-idx3-ubyte", TRUNCATED, "up to image 12 of 30: the data ends there"),
        ("train-images-idx3-ubyte.gz", TRUNCATED, "up to image 12 of 30: the data ends there"),
        ("train-images-idx3-ubyte", idx(IMAGES) + b"x", "image 30 of 30: it continues"),
        ("train-images-idx3-ubyte.gz", idx(IMAGES) + b"x", "image 30 of 30: it continues"),
        (
            "train-images-idx3-ubyte",
            b"\x89PNG" + bytes(50),
            "not an IDX file: it begins with the bytes 89 50",
        ),
        (
            "train-images-idx3-ubyte.gz",
            b"\0\0\x07\x03" + bytes(50),
            "it begins with the bytes 00 00 07 03",
        ),
        ("train-images-idx3-ubyte", b"", "not an IDX file: the data ends there"),
        ("train-images-idx3-ubyte", idx(IMAGES)[:9], "is incomplete: the data ends there"),
    ],
)
def test_a_damaged_file_is_named_with_the_image(tmp_path, name, data, message):
    source = IdxSource(write(tmp_path / "M", {name: data}))
    with pytest.raises(WorkError, match=message) as caught:
        read(source)
    assert str(tmp_path / "M" / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_gzip_file_names_the_image(tmp_path):
    images = random_images(3000, 28, 28)
    path = write(tmp_path / "M", {"train-images-idx3-ubyte.gz": idx(images)})
    file = tmp_path / "M" / "train-images-idx3-ubyte.gz"
    # gzip cannot compress random bytes, so half of the file is half of the images.
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(WorkError, match=r"up to image 1[45]\d\d of 3000: Compressed file ended"):
        read(IdxSource(path))


def test_a_flipped_bit_in_a_gzip_file_is_detected(tmp_path):
    path = write(tmp_path / "M", {"train-images-idx3-ubyte.gz": idx(IMAGES)})
    file = tmp_path / "M" / "train-images-idx3-ubyte.gz"
    data = bytearray(file.read_bytes())
    data[-12] ^= 4
    file.write_bytes(data)
    with pytest.raises(WorkError, match=r"can be read up to image \d+ of 30"):
        read(IdxSource(path))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("sizes", [(2**32 - 1, 28, 28), (2**32 - 1, 2**32 - 1, 2**32 - 1)])
def test_memory_is_bounded_if_the_header_announces_too_large_an_array(tmp_path, suffix, sizes):
    data = header(0x08, *sizes) + bytes(5000)
    path = write(tmp_path / "M", {f"train-images-idx3-ubyte{suffix}": data})
    tracemalloc.start()
    try:
        with pytest.raises((WorkError, ConfigError), match="train-images-idx3-ubyte"):
            read(IdxSource(path))
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()


def test_differing_numbers_of_labels_and_images_name_both_files(tmp_path):
    files = {"train-images-idx3-ubyte": idx(IMAGES), "train-labels-idx1-ubyte": idx(LABELS[:29])}
    with pytest.raises(WorkError, match=r"labels-idx1-ubyte holds 29 labels, .*images-idx3-ubyte"):
        IdxSource(write(tmp_path / "M", files)).slices()


def test_a_pickled_source_reads_the_same_images(tmp_path):
    files = {"train-images-idx3-ubyte": idx(IMAGES), "train-labels-idx1-ubyte": idx(LABELS)}
    source = IdxSource(write(tmp_path / "M", files), Conversion(channels=3))
    before = pickle.loads(pickle.dumps(source))
    parts = source.slices()
    for copy in (before, pickle.loads(pickle.dumps(source))):
        assert copy == source
        assert copy.slices() == parts
        assert copy.input == source.input
        np.testing.assert_array_equal(read(copy).images, np.stack([IMAGES] * 3, axis=-1))
    assert source.settings == {"image_size": None, "channels": 3}


def test_the_fingerprint_covers_only_the_files_that_are_read(tmp_path):
    path = write(tmp_path / "M", {"train-images-idx3-ubyte": idx(IMAGES)})
    one = IdxSource(path).input
    assert one.path == path
    (path / "notes.txt").write_text("not read")
    assert IdxSource(path).input == one
    os.utime(path / "train-images-idx3-ubyte", (0, 1_000_000_000))
    touched = IdxSource(path).input
    write(tmp_path / "M", {"train-labels-idx1-ubyte": idx(LABELS)})
    assert len({one.fingerprint, touched.fingerprint, IdxSource(path).input.fingerprint}) == 3


def test_paths_of_idx_files_are_recognized(tmp_path):
    path = write(tmp_path / "M", {"t10k-labels-idx1-ubyte.gz": idx(LABELS)})
    assert is_idx(path)
    assert is_idx(path / "t10k-labels-idx1-ubyte.gz")
    other = write(tmp_path / "other", {"train-images.npy": b"", "idx": b""})
    assert not is_idx(other)
    macos = write(tmp_path / "macos", {"._train-images-idx3-ubyte": b""})
    assert not is_idx(macos)
    assert not is_idx(other / "train-images.npy")
    assert not is_idx(epath.Path(tmp_path))


def test_labels_that_would_fill_the_memory_are_refused_before_they_are_unpacked(tmp_path):
    labels = header(0x08, 3_000_000) + bytes(3_000_000)
    files = {"train-images-idx3-ubyte": idx(IMAGES), "train-labels-idx1-ubyte.gz": labels}
    path = write(tmp_path / "a", files)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=r"labels-idx1-ubyte.gz would take 24.00 MB .* pass"):
            IdxSource(path, load_bytes=23_999_999).slices()
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
    with pytest.raises(WorkError, match="holds 3000000 labels"):
        IdxSource(path, load_bytes=24_000_000).slices()


def test_only_the_first_of_several_columns_of_labels_is_kept(tmp_path):
    labels = np.zeros((30, 8), np.int64)
    labels[:, 0] = LABELS
    files = {
        "train-images-idx3-ubyte": idx(IMAGES),
        "train-labels-idx2-int": idx(labels, ">i4"),
    }
    source = IdxSource(write(tmp_path / "qmnist", files), load_bytes=240)
    np.testing.assert_array_equal(read(source).labels, LABELS)

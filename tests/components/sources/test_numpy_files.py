import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from etils import epath

from components.base.errors import ConfigError, WorkError
from components.ingest.conversion import Conversion
from components.sources.layout import AxisLayout
from components.sources.numpy_files import NumpySource
from tests.conftest import read_split as read


def random_images(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


IMAGES = random_images(30, 5, 4)
LABELS = np.arange(30) % 7
TEST_IMAGES, TEST_LABELS = IMAGES[:6, ::-1], LABELS[:6] + 3


def write_folder(path, arrays) -> epath.Path:
    path.mkdir()
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    return epath.Path(path)


def write_npz(path, arrays, save=np.savez) -> epath.Path:
    save(path.with_suffix(".npz"), **arrays)
    return epath.Path(path.with_suffix(".npz"))


def write_compressed(path, arrays) -> epath.Path:
    return write_npz(path, arrays, np.savez_compressed)


WRITERS = [write_folder, write_npz, write_compressed]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
        ("images", "labels", "images_test", "labels_test"),
        ("X", "y", "X_test", "y_test"),
        ("data", "target", "test_data", "test_target"),
    ],
)
def test_every_naming_scheme_is_read_exactly(tmp_path, write, names):
    arrays = (IMAGES, LABELS, TEST_IMAGES, TEST_LABELS)
    source = NumpySource(write(tmp_path / "My-Cats", dict(zip(names, arrays, strict=True))))
    assert source.name == "my_cats"
    assert source.num_examples == {"train": 30, "test": 6}
    assert source.class_names == [str(label) for label in range(9)]
    for split, images, labels in (
        ("train", IMAGES, LABELS),
        ("test", TEST_IMAGES, TEST_LABELS),
    ):
        batch = read(source, split)
        np.testing.assert_array_equal(batch.images, images[..., np.newaxis])
        np.testing.assert_array_equal(batch.labels, labels)
        assert batch.ids == [f"{split}-{index:08d}" for index in range(len(images))]


def test_labels_of_medmnist_have_one_column(tmp_path):
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = random_images(8, 6, 6, 3, seed=len(split))
        arrays[f"{split}_labels"] = np.arange(8, dtype=np.uint8)[:, np.newaxis] % 5
    source = NumpySource(write_compressed(tmp_path / "pathmnist", arrays))
    assert source.num_examples == {"train": 8, "validation": 8, "test": 8}
    batch = read(source, "validation")
    np.testing.assert_array_equal(batch.images, arrays["val_images"])
    np.testing.assert_array_equal(batch.labels, arrays["val_labels"][:, 0])


def test_images_with_several_labels_each_are_unlabelled(tmp_path, capsys):
    arrays = {"train_images": IMAGES, "train_labels": np.ones((30, 14), np.uint8)}
    source = NumpySource(write_npz(tmp_path / "chestmnist", arrays))
    assert source.class_names == ["unlabelled"]
    assert set(read(source).labels) == {0}
    (line,) = capsys.readouterr().err.splitlines()
    assert "train_labels has shape (30, 14) and is not one-hot, so all images are unl" in line


def test_one_hot_labels_become_class_numbers(tmp_path):
    eye = np.eye(7, dtype=np.float32)
    arrays = {"x_train": IMAGES, "y_train": eye[LABELS], "x_test": IMAGES, "y_test": eye[LABELS]}
    source = NumpySource(write_npz(tmp_path / "a", arrays))
    for split in ("train", "test"):
        np.testing.assert_array_equal(read(source, split).labels, LABELS)


def test_labels_that_are_one_hot_in_one_split_only_are_not_used(tmp_path, capsys):
    eye = np.eye(7, dtype=np.uint8)
    arrays = {"x": IMAGES, "y": eye[LABELS], "x_test": IMAGES, "y_test": 1 - eye[LABELS]}
    assert NumpySource(write_npz(tmp_path / "a", arrays)).class_names == ["unlabelled"]
    assert "y_test has shape (30, 7) and is not one-hot" in capsys.readouterr().err


@pytest.mark.parametrize("write", WRITERS)
def test_a_single_array_holds_the_training_images(tmp_path, write):
    source = NumpySource(write(tmp_path / "a", {"galaxies": IMAGES}))
    assert (source.num_examples, source.class_names) == ({"train": 30}, ["unlabelled"])
    np.testing.assert_array_equal(read(source).images[..., 0], IMAGES)


def test_a_single_npy_file_is_a_source(tmp_path):
    folder = write_folder(tmp_path / "a", {"galaxies": IMAGES, "x_test": IMAGES})
    source = NumpySource(folder / "galaxies.npy")
    assert (source.name, source.num_examples) == ("galaxies", {"train": 30})
    assert NumpySource(folder / "x_test.npy").num_examples == {"test": 30}
    assert NumpySource(folder).num_examples == {"test": 30}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_images_of_16_bits_and_of_bool_are_converted(tmp_path, write, order):
    # 257 * 255 = 65535, so every way of reducing 16 bits to 8 returns the original images.
    deep = (IMAGES.astype(np.uint16) * 257).astype(f"{order}u2")
    source = NumpySource(write(tmp_path / "deep", {"x": deep}))
    np.testing.assert_array_equal(read(source).images[..., 0], IMAGES)
    source = NumpySource(write(tmp_path / "mask", {"x": IMAGES > 99, "y": IMAGES[:, 0, 0] > 9}))
    np.testing.assert_array_equal(read(source).images[..., 0], np.where(IMAGES > 99, 255, 0))
    np.testing.assert_array_equal(read(source).labels, IMAGES[:, 0, 0] > 9)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, ">i2", np.uint32, np.int64, np.uint64])
def test_labels_may_have_any_integer_type(tmp_path, dtype):
    source = NumpySource(write_npz(tmp_path / "a", {"x": IMAGES, "y": LABELS.astype(dtype)}))
    np.testing.assert_array_equal(read(source).labels, LABELS)
    assert len(source.class_names) == 7


def test_there_may_be_thousands_of_classes(tmp_path):
    labels = np.arange(30) * 100
    source = NumpySource(write_npz(tmp_path / "a", {"x": IMAGES, "y": labels}))
    assert len(source.class_names) == 2901
    np.testing.assert_array_equal(read(source).labels, labels)


@pytest.mark.parametrize("write", [write_folder, write_npz])
def test_uncompressed_arrays_are_read_in_slices(tmp_path, write):
    images = random_images(50_000, 28, 28)
    source = NumpySource(write(tmp_path / "a", {"x": images, "y": np.arange(50_000)}))
    parts = source.slices()
    assert [part.first for part in parts] == [n * (8 * 2**20 // 784) for n in range(5)]
    batch = read(source, parts=reversed(parts))
    np.testing.assert_array_equal(batch.images[..., 0], images)
    np.testing.assert_array_equal(batch.labels, np.arange(50_000))


def test_a_compressed_member_is_one_slice(tmp_path):
    images = np.zeros((50_000, 28, 28), np.uint8)
    images[:, 3, 4] = np.arange(50_000) % 251
    source = NumpySource(write_compressed(tmp_path / "a", {"x": images}))
    assert [part.examples for part in source.slices()] == [50_000]
    np.testing.assert_array_equal(read(source).images[..., 0], images)


@pytest.mark.parametrize("write", WRITERS)
def test_batches_of_large_images_are_limited_by_their_bytes(tmp_path, write):
    images = random_images(14, 1000, 700, 3)  # 2.1 MB each: 3 per slice, 7 per batch.
    source = NumpySource(write(tmp_path / "a", {"x": images}))
    sizes = [len(batch) for part in source.slices() for batch in source.read(part)]
    assert sizes == ([3, 3, 3, 3, 2] if write is write_folder else [7, 7])
    np.testing.assert_array_equal(read(source).images, images)


def test_batches_are_limited_by_the_bytes_of_converted_images(tmp_path):
    conversion = Conversion(image_size=(512, 512), channels=3)
    source = NumpySource(write_folder(tmp_path / "a", {"x": IMAGES}), conversion)
    [part] = source.slices()
    batches = list(source.read(part))
    assert [len(batch) for batch in batches] == [21, 9]
    assert batches[0].shape == (512, 512, 3)
    assert source.settings == {"image_size": [512, 512], "channels": 3}


OBJECTS = np.array([{"a": 1}, None] * 15, dtype=object)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": IMAGES, "b": IMAGES}, "holds a, b; name the arrays train_images, .* x_train"),
        ({"y_train": LABELS}, "holds y_train; name the arrays"),
        ({"x": IMAGES, "y_test": LABELS}, "holds x, y_test; name the arrays"),
        ({"images": IMAGES, "x_train": IMAGES}, "images and x_train are train images; rename"),
        ({"x": IMAGES / np.float32(255)}, "float32 images; scale them to 0..255 .* as uint8"),
        ({"x": IMAGES.astype(np.int64)}, "int64 images; scale them to 0..255"),
        ({"x": IMAGES, "y": LABELS / 2}, "float64 labels; save them as integers"),
        (
            {"x": IMAGES.reshape(30, 20)},
            r"shape \(30, 20\); save images with shape \[N, height, width\]",
        ),
        ({"x": IMAGES[:, :0]}, r"shape \(30, 0, 4\)"),
        ({"x": random_images(5, 5, 9, 7)}, r"shape \(5, 5, 9, 7\)"),
        ({"x": np.uint8(5)}, "is a single number"),
        ({"x": random_images(5, 3, 8, 9)}, r"channels first; .* say so with --layout NCHW"),
        ({"x": random_images(5, 1, 8, 9)}, "channels first"),
        ({"x": np.asfortranarray(IMAGES)}, "in Fortran order; .* np.ascontiguousarray"),
        ({"x": OBJECTS}, "Python objects, which are never loaded"),
        ({"x": IMAGES, "y": OBJECTS}, "y.* holds Python objects"),
    ],
)
def test_unsupported_arrays_are_refused_in_one_line(tmp_path, write, arrays, message):
    with pytest.raises(ConfigError, match=message) as caught:
        NumpySource(write(tmp_path / "a", arrays)).slices()
    assert str(tmp_path / "a") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_arrays_of_other_names_are_ignored_with_a_warning(tmp_path, capsys):
    arrays = {"x": IMAGES, "y": LABELS, "class_names": OBJECTS, "x_mean": IMAGES.mean()}
    source = NumpySource(write_npz(tmp_path / "a", arrays))
    np.testing.assert_array_equal(read(source).labels, LABELS)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"warning: {source.path}: ignoring class_names, x_mean, which" in line
    assert "name them train_images" in line


@pytest.mark.parametrize("write", WRITERS)
def test_images_of_an_unknown_split_are_named(tmp_path, capsys, write):
    arrays = {"train_images": IMAGES, "train_labels": LABELS, "extra_images": IMAGES}
    assert NumpySource(write(tmp_path / "a", arrays)).num_examples == {"train": 30}
    assert "ignoring extra_images, which" in capsys.readouterr().err


def test_differing_numbers_of_labels_and_images_name_both_arrays(tmp_path):
    path = write_npz(tmp_path / "a", {"x_train": IMAGES, "y_train": LABELS[:29]})
    with pytest.raises(
        WorkError, match=r"a.npz: y_train holds 29 labels, .*: x_train holds 30 images"
    ):
        NumpySource(path).slices()


def npy(array: np.ndarray, *, shape: tuple[int, ...] | None = None) -> bytes:
    """The bytes of an .npy file whose header announces `shape` instead of the array's shape."""
    described = np.lib.format.header_data_from_array_1_0(array)
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, described | ({"shape": shape} if shape else {}))
    return buffer.getvalue() + array.tobytes()


def write_raw(path, data: bytes, compression: int | None) -> epath.Path:
    """Writes `data` as the array x_train of a folder, or of an archive with a compression."""
    if compression is None:
        path.mkdir()
        (path / "x_train.npy").write_bytes(data)
        return epath.Path(path)
    with zipfile.ZipFile(path.with_suffix(".npz"), "w", compression) as archive:
        archive.writestr("x_train.npy", data)
    return epath.Path(path.with_suffix(".npz"))


COMPRESSIONS = [None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(IMAGES)[: -(7 * 20) - 3], "up to image 22 of 30: the data ends there"),
        (npy(IMAGES) + b"x", "up to image 30 of 30: it continues"),
        (npy(IMAGES, shape=(31, 5, 4)), "up to image 30 of 31: the data ends there"),
        (npy(IMAGES, shape=(10**18, 5, 4)), f"up to image 30 of {10**18}"),
        (npy(IMAGES, shape=(10**30, 10**30, 4)), f"up to image 0 of {10**30}"),
        (npy(IMAGES, shape=(-30, 5, 4)), "header is damaged"),
        (b"\x93NUMPX" + npy(IMAGES)[6:], "is not a NumPy array"),
        (npy(IMAGES)[:40], "is not a NumPy array, or its header is damaged"),
        (b"", "is not a NumPy array"),
    ],
)
def test_a_damaged_array_is_named_with_the_image(tmp_path, compression, data, message):
    path = write_raw(tmp_path / "a", data, compression)
    tracemalloc.start()
    try:
        with pytest.raises(WorkError, match=message) as caught:
            read(NumpySource(path))
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert "x_train" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compression", COMPRESSIONS[1:])
def test_memory_is_bounded_if_the_archive_announces_too_large_a_member(tmp_path, compression):
    """The directory of the archive may be wrong as well as the header of the array."""
    data = npy(IMAGES, shape=(10**8, 5, 4))
    path = write_raw(tmp_path / "a", data, compression)
    raw = bytearray(path.read_bytes())
    directory = raw.rindex(b"PK\x01\x02")
    promised = len(data) - IMAGES.nbytes + 20 * 10**8
    raw[directory + 24 : directory + 28] = promised.to_bytes(4, "little")
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        with pytest.raises(WorkError, match=r"up to image \d+ of 100000000"):
            read(NumpySource(path), parts=NumpySource(path).slices()[:1])
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()


def peak_memory(work) -> int:
    """The most bytes that Python held at once while `work` ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


POINTS = np.zeros((200_000, 1, 1), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "layout", "size"),
    [
        # The labels compress to a thousandth of their size.
        ({"x": POINTS, "y": np.zeros(200_000, np.uint8)}, None, 1_600_000),
        ({"x": POINTS, "y": np.zeros((200_000, 2), np.float32)}, None, 1_600_000),
        ({"x": IMAGES, "y": np.zeros((30, 1_000_000), np.uint8)}, None, 1_000_000),
        ({"x": np.zeros((50, 40, 1000), np.uint8)}, "HWN", 2_000_000),
    ],
)
def test_arrays_that_are_loaded_as_a_whole_are_refused_before_they_are_unpacked(
    tmp_path, arrays, layout, size
):
    path = write_compressed(tmp_path / "a", arrays)
    layout = layout and AxisLayout.parse(layout)

    def refused() -> None:
        with pytest.raises(ConfigError, match=f"pass --load_bytes {size}"):
            NumpySource(path, layout=layout, load_bytes=size - 1).slices()

    assert peak_memory(refused) < 200_000
    assert NumpySource(path, layout=layout, load_bytes=size).slices()


def test_an_archive_that_announces_more_than_it_holds_has_no_slices(tmp_path):
    """The list of slices alone would take gigabytes."""
    data = npy(IMAGES, shape=(10**16, 5, 4))
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("x.npy", "w", force_zip64=True) as f:
        f.write(data)
    archive = zipfile.ZipFile(path)
    info = archive.infolist()[0]
    info.file_size = len(data) - IMAGES.nbytes + 20 * 10**16
    with zipfile.ZipFile(path, "a") as target:
        target.filelist, target.NameToInfo = [info], {info.filename: info}
        target._didModify = True

    def refused() -> None:
        with pytest.raises(WorkError, match=f"up to image \\d+ of {10**16}: the data ends there"):
            NumpySource(epath.Path(path)).slices()

    assert peak_memory(refused) < 1 << 20


@pytest.mark.parametrize("write", [write_npz, write_compressed])
def test_a_flipped_bit_in_an_archive_is_detected(tmp_path, write):
    path = write(tmp_path / "a", {"x_train": random_images(3000, 28, 28)})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(WorkError, match=r"a\.npz: x_train can be read up to image \d+ of 3000: "):
        read(NumpySource(path))
    small = write(tmp_path / "small", {"x_train": IMAGES})
    data = bytearray(small.read_bytes())
    data[len(data) // 2] ^= 4
    small.write_bytes(data)
    with pytest.raises(WorkError, match=r"small\.npz: x_train cannot be read: "):
        read(NumpySource(small))


def test_a_missing_file_is_reported_in_one_line(tmp_path):
    for name in ("none.npz", "none.npy"):
        with pytest.raises(WorkError, match=f"{name} cannot be read: No such file"):
            NumpySource(epath.Path(tmp_path / name)).slices()


def test_a_truncated_archive_is_detected(tmp_path):
    path = write_npz(tmp_path / "a", {"x_train": IMAGES})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(WorkError, match=r"a\.npz cannot be read: File is not a zip file"):
        NumpySource(path).slices()


def test_an_archive_with_a_flipped_bit_returns_its_images_or_an_error(tmp_path):
    intact = write_compressed(tmp_path / "intact", {"x_train": IMAGES, "y_train": LABELS})
    data = intact.read_bytes()
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(300):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path = tmp_path / "flipped.npz"
        path.write_bytes(flipped)
        try:
            batch = read(NumpySource(epath.Path(path)))
        except (WorkError, ConfigError) as error:
            errors.append(str(error))
        else:
            np.testing.assert_array_equal(batch.images[..., 0], IMAGES)
    assert 0 < len(errors) < 300
    assert not any("\n" in line for line in errors)


def test_a_pickled_source_reads_the_same_images(tmp_path):
    source = NumpySource(write_compressed(tmp_path / "a", {"x": IMAGES, "y": LABELS}))
    before = pickle.loads(pickle.dumps(source))
    parts = source.slices()
    for copy in (before, pickle.loads(pickle.dumps(source))):
        assert copy == source
        assert copy.slices() == parts
        assert copy.input == source.input
        np.testing.assert_array_equal(read(copy).images[..., 0], IMAGES)


def test_the_fingerprint_covers_only_the_arrays_that_are_read(tmp_path):
    path = write_folder(tmp_path / "a", {"x": IMAGES})
    one = NumpySource(path).input
    assert one.path == path
    np.save(tmp_path / "a" / ".x_test.npy", IMAGES)
    np.save(tmp_path / "a" / "embeddings.npy", IMAGES)
    assert NumpySource(path).input == one
    np.save(tmp_path / "a" / "y.npy", LABELS)
    assert NumpySource(path).input.fingerprint != one.fingerprint


PAIRS = {
    "kmnist-train-imgs": IMAGES,
    "kmnist-train-labels": LABELS,
    "kmnist-test-imgs": TEST_IMAGES,
    "kmnist-test-labels": TEST_LABELS,
}


def write_pairs(folder, pairs, suffix: str) -> epath.Path:
    folder.mkdir()
    for name, array in pairs.items():
        if suffix == ".npy":
            np.save(folder / f"{name}.npy", array)
        else:
            np.savez_compressed(folder / f"{name}.npz", array)  # The array is called arr_0.
    return epath.Path(folder)


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize("given", PAIRS)
def test_a_file_that_is_named_like_those_of_kmnist_is_read_with_the_others(tmp_path, given, suffix):
    folder = write_pairs(tmp_path / "a", PAIRS | {"k49-train-imgs": IMAGES}, suffix)
    source = NumpySource(folder / f"{given}{suffix}")
    assert (source.name, source.num_examples) == ("kmnist", {"train": 30, "test": 6})
    for split, images, labels in (("train", IMAGES, LABELS), ("test", TEST_IMAGES, TEST_LABELS)):
        np.testing.assert_array_equal(read(source, split).images[..., 0], images)
        np.testing.assert_array_equal(read(source, split).labels, labels)
    assert len(source._files) == 4


def test_files_named_with_the_words_of_one_scheme_are_read_together(tmp_path, capsys):
    names = ("x_train", "y_train", "labels", "data")
    folder = write_pairs(
        tmp_path / "cats", dict(zip(names, [IMAGES, LABELS] * 2, strict=True)), ".npy"
    )
    source = NumpySource(folder / "x_train.npy")
    np.testing.assert_array_equal(read(source).labels, LABELS)
    assert source.name == "cats"
    assert capsys.readouterr().err == "reading x_train.npy, y_train.npy as one dataset\n"


def test_files_that_do_not_go_together_are_refused(tmp_path):
    labels_only = {"k-train-imgs": IMAGES, "k-test-labels": LABELS}
    folder = write_pairs(tmp_path / "a", labels_only, ".npz")
    with pytest.raises(ConfigError, match=r"k-test-labels.npz: the file with the images of these"):
        NumpySource(folder / "k-train-imgs.npz").slices()
    twice = {"k-train-imgs": IMAGES, "k-train-images": IMAGES}
    folder = write_pairs(tmp_path / "b", twice, ".npz")
    with pytest.raises(ConfigError, match=r"k-train-images.npz and .* are train images; rename"):
        NumpySource(folder / "k-train-imgs.npz").slices()
    folder = write_pairs(tmp_path / "c", {"k-train-imgs": IMAGES}, ".npz")
    np.savez(folder / "k-train-labels.npz", LABELS, LABELS)
    with pytest.raises(ConfigError, match=r"k-train-labels.npz holds 2 arrays"):
        NumpySource(folder / "k-train-imgs.npz").slices()


SQUARES = random_images(200, 28, 28)
COLORS = random_images(90, 32, 48, 3)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("stored", "layout", "expected"),
    [
        (np.moveaxis(SQUARES, 0, 2), "HWN", SQUARES),
        (SQUARES.reshape(200, 784), "N28x28", SQUARES),
        (np.moveaxis(COLORS, 3, 1), "NCHW", COLORS),
        (np.moveaxis(COLORS, 0, 3), "HWCN", COLORS),
        (COLORS[0], "HWC", COLORS[:1]),
        (np.moveaxis(COLORS[0], 2, 0), "CHW", COLORS[:1]),
        (COLORS[:3, :, :, 0], "NHW", COLORS[:3, :, :, 0]),
    ],
)
def test_an_ambiguous_array_is_refused_and_read_with_a_layout(
    tmp_path, write, stored, layout, expected
):
    path = write(tmp_path / "a", {"x": np.ascontiguousarray(stored)})
    with pytest.raises(ConfigError, match=f"--layout {layout}") as caught:
        NumpySource(path).slices()
    assert "\n" not in str(caught.value)
    source = NumpySource(path, layout=AxisLayout.parse(layout))
    assert source.settings == {"image_size": None, "channels": None, "layout": layout}
    copy = pickle.loads(pickle.dumps(source))
    batch = read(copy)
    np.testing.assert_array_equal(batch.images, expected.reshape(*expected.shape[:3], -1))
    assert len(batch) == source.num_examples["train"] == len(expected)


def test_a_layout_that_no_array_has_is_refused(tmp_path):
    path = write_npz(tmp_path / "a", {"x": SQUARES})
    with pytest.raises(ConfigError, match=r"x has shape \(200, 28, 28\), which --layout NCHW does"):
        NumpySource(path, layout=AxisLayout.parse("NCHW")).slices()


SPLIT = np.random.default_rng(1).permutation(["train"] * 18 + ["val"] * 4 + ["test"] * 8)
ROWS = {split: np.flatnonzero(split == SPLIT) for split in ("train", "val", "test")}
SHUFFLED = {split: rows[::-1].copy() for split, rows in ROWS.items()}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "dividers",
    [
        {"split": SPLIT},
        {"subset": SPLIT.astype("S")},
        {"partition": np.select([SPLIT == "train", SPLIT == "val"], [0, 1], 2)},
        {f"{split}_idx": rows for split, rows in SHUFFLED.items()},
        {f"indices_{split}": rows for split, rows in SHUFFLED.items()},
        SHUFFLED,
        {f"{split}_mask": split == SPLIT for split in ROWS},
        {"is_test": (SPLIT == "test").astype(int), "is_val": (SPLIT == "val").astype(int)},
        {"test_index": SHUFFLED["test"], "validation_index": SHUFFLED["val"]},
    ],
    ids=lambda dividers: "-".join(dividers),
)
def test_one_array_of_images_is_divided_into_the_splits_that_others_state(
    tmp_path, capsys, write, dividers
):
    path = write(tmp_path / "a", {"images": IMAGES, "labels": LABELS, **dividers})
    source = pickle.loads(pickle.dumps(NumpySource(path)))
    assert source.num_examples == {"train": 18, "validation": 4, "test": 8}
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        batch = read(source, split)
        np.testing.assert_array_equal(batch.images[..., 0], IMAGES[ROWS[name]])
        np.testing.assert_array_equal(batch.labels, LABELS[ROWS[name]])
        assert batch.ids == [f"{split}-{index:08d}" for index in range(len(batch))]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("the splits of the images are those in ")


def test_a_change_of_the_rows_of_a_split_changes_the_fingerprint(tmp_path):
    arrays = {"images": IMAGES, "split": SPLIT}
    path = write_folder(tmp_path / "a", arrays)
    before = NumpySource(path).input
    assert before == NumpySource(path).input
    (path / "split.npy").rename(tmp_path / "split.npy")
    assert NumpySource(path).input != before


def test_a_file_of_images_is_read_with_the_file_that_divides_it(tmp_path):
    folder = write_folder(tmp_path / "a", {"images": IMAGES, "classes": LABELS, "split": SPLIT})
    for source in (NumpySource(folder / "images.npy"), NumpySource(folder)):
        batch = read(source, "test")
        np.testing.assert_array_equal(batch.images[..., 0], IMAGES[ROWS["test"]])
        np.testing.assert_array_equal(batch.labels, LABELS[ROWS["test"]])


def test_images_of_no_split_are_counted(tmp_path, capsys):
    arrays = {"images": IMAGES, "train_idx": ROWS["train"], "test_idx": ROWS["test"]}
    source = NumpySource(write_npz(tmp_path / "a", arrays))
    assert source.num_examples == {"train": 18, "test": 8}
    assert "test_idx: 4 images in no split, which is left out" in capsys.readouterr().err


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"split": SPLIT.astype(object)}, "split may say .*, but it holds Python objects"),
        ({"split": SPLIT[:20]}, "it has 20 values, while there are 30 images"),
        ({"split": np.arange(30) % 2}, "its values 0, 1 may mean any split"),
        ({"fold": np.arange(30) % 5}, "its values 0, 1, 2, 3, 4 may mean any split"),
        ({"train_idx": ROWS["train"], "test_idx": ROWS["train"]}, "belong to another split"),
        ({"test_idx": ROWS["test"] + 30}, "not from 0 to 29"),
        ({"holdout_idx": ROWS["test"]}, "holdout_idx may say .* its name does not say how"),
        ({"test_names": np.array(["a", "b"])}, "test_names may say .* its name does not"),
        ({"trainval": ROWS["train"]}, "trainval may say .* its name does not say how"),
        ({"split": SPLIT, "test_idx": ROWS["test"]}, "so may another array"),
        ({"split": SPLIT, "fold": np.arange(30)}, "so may another array"),
        ({"test_idx": ROWS["test"], "test_mask": SPLIT == "test"}, "so may another array"),
        ({"split": SPLIT, "x_test": IMAGES}, "there are several arrays of images"),
    ],
)
def test_what_may_say_which_images_are_test_images_is_never_ignored(
    tmp_path, write, arrays, message
):
    path = write(tmp_path / "a", {"images": IMAGES, **arrays})
    with pytest.raises(ConfigError, match=message) as caught:
        NumpySource(path).slices()
    assert str(path) in str(caught.value)
    assert "train_idx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_measures_of_a_split_do_not_divide_the_images(tmp_path, capsys):
    measures = {"train_mean": np.float32(3), "test_std": IMAGES.mean(axis=(1, 2)), "eval_x": IMAGES}
    source = NumpySource(write_npz(tmp_path / "a", {"images": IMAGES, **measures}))
    assert source.num_examples == {"train": 30}
    assert "ignoring eval_x, test_std, train_mean, which" in capsys.readouterr().err
    arrays = {"x_train": IMAGES, "x_test": IMAGES, "test_idx": ROWS["test"]}
    source = NumpySource(write_npz(tmp_path / "b", arrays))
    assert source.num_examples == {"train": 30, "test": 30}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("name", ["fine_labels", "classes", "class", "category", "train_class"])
def test_labels_of_another_name_are_read_if_they_are_the_only_ones(tmp_path, write, name):
    arrays = {"images": IMAGES, name: LABELS, "class_names": np.array(list("abcdefg"))}
    source = NumpySource(write(tmp_path / "a", arrays))
    np.testing.assert_array_equal(read(source).labels, LABELS)


def test_of_several_arrays_of_labels_the_plain_name_is_read(tmp_path):
    arrays = {"images": IMAGES, "fine_labels": LABELS + 9, "labels": LABELS}
    source = NumpySource(write_npz(tmp_path / "a", arrays))
    np.testing.assert_array_equal(read(source).labels, LABELS)


@pytest.mark.parametrize("write", WRITERS)
def test_several_arrays_of_labels_are_named_with_the_way_to_use_one(tmp_path, capsys, write):
    arrays = {"x_train": IMAGES, "x_test": TEST_IMAGES}
    for split, labels in (("train", LABELS), ("test", TEST_LABELS)):
        arrays |= {f"{split}_fine_labels": labels, f"{split}_coarse_labels": labels // 3}
    source = NumpySource(write(tmp_path / "a", arrays))
    assert source.class_names == ["unlabelled"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds several arrays of labels, test_coarse_labels, test_fine_labels, tr" in line
    assert "to use one, name it labels, or train_labels, test_labels" in line


def test_labels_of_another_name_and_size_are_ignored_with_advice(tmp_path, capsys):
    arrays = {"imgs": IMAGES, "latents_classes": np.ones((30, 6), int), "num_classes": 6}
    source = NumpySource(write_npz(tmp_path / "dsprites", arrays))
    assert source.class_names == ["unlabelled"]
    line = capsys.readouterr().err
    assert "ignoring latents_classes, num_classes, which" in line
    assert "to use an array of one class number per image, name it labels" in line


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_a_folder_of_files_that_are_named_like_those_of_kmnist_is_read(tmp_path, suffix):
    folder = write_pairs(tmp_path / "KMNIST", PAIRS, suffix)
    source = NumpySource(folder)
    assert (source.name, source.num_examples) == ("kmnist", {"train": 30, "test": 6})
    np.testing.assert_array_equal(read(source).labels, LABELS)
    np.testing.assert_array_equal(read(source, "test").images[..., 0], TEST_IMAGES)
    write_pairs(tmp_path / "b", {"k49-train-imgs": IMAGES}, suffix)
    (tmp_path / f"b/k49-train-imgs{suffix}").rename(folder / f"k49-train-imgs{suffix}")
    with pytest.raises(ConfigError, match="holds several datasets, k49, kmnist; select one by"):
        NumpySource(folder).slices()


def test_archives_of_one_split_each_are_read(tmp_path):
    for name, images, labels in (("train", IMAGES, LABELS), ("my_test", TEST_IMAGES, TEST_LABELS)):
        write_npz(tmp_path / name, {"x": images, "y": labels})
    source = NumpySource(epath.Path(tmp_path))
    assert source.num_examples == {"train": 30, "test": 6}
    for split, images, labels in (("train", IMAGES, LABELS), ("test", TEST_IMAGES, TEST_LABELS)):
        np.testing.assert_array_equal(read(source, split).images[..., 0], images)
        np.testing.assert_array_equal(read(source, split).labels, labels)
    write_npz(tmp_path / "holdout", {"x": IMAGES})
    with pytest.raises(ConfigError, match=r"holdout.npz: its name does not say to which split"):
        NumpySource(epath.Path(tmp_path)).slices()


def test_archives_of_the_same_split_are_refused(tmp_path):
    for name in ("part1", "part2"):
        write_npz(tmp_path / name, {"x": IMAGES})
    message = r"both part1.npz: x and part2.npz: x are train images; rename or remove one"
    with pytest.raises(ConfigError, match=message):
        NumpySource(epath.Path(tmp_path)).slices()


def test_archives_and_arrays_in_one_folder_are_read_together(tmp_path, capsys):
    folder = write_folder(tmp_path / "a", {"images": IMAGES, "labels": LABELS})
    write_npz(folder / "statistics", {"mu": LABELS, "sigma": LABELS})
    np.testing.assert_array_equal(read(NumpySource(folder)).labels, LABELS)
    assert "ignoring statistics.npz: mu, statistics.npz: sigma" in capsys.readouterr().err
    write_npz(folder / "train", {"x": IMAGES})
    with pytest.raises(ConfigError, match=r"both images and train.npz: x are train images; rename"):
        NumpySource(folder).slices()


@pytest.mark.parametrize("write", [write_folder, write_npz])
def test_folders_of_splits_with_arrays_are_read(tmp_path, write):
    for split, images, labels in (("train", IMAGES, LABELS), ("val", TEST_IMAGES, TEST_LABELS)):
        folder = tmp_path / "a" / split
        folder.parent.mkdir(exist_ok=True)
        if write is write_npz:
            folder.mkdir()
            folder /= "data"
        write(folder, {"images": images, "labels": labels})
    source = NumpySource(epath.Path(tmp_path / "a"))
    assert source.num_examples == {"train": 30, "validation": 6}
    np.testing.assert_array_equal(read(source, "validation").labels, TEST_LABELS)
    assert read(source).ids == [f"train-{index:08d}" for index in range(30)]

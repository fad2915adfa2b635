import gzip
import io
import os
import pickle
import random
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from components.base.errors import ConfigError, WorkError
from components.data import tfrecord
from components.data.examples import ExampleBatch
from components.ingest.conversion import Conversion
from components.ingest.rejection import Reason, Rejected
from components.sources import source, tfrecord_scan, tfrecords
from components.sources.feature_map import FeatureMap
from components.sources.tfrecords import TfrecordsSource
from tests.tfrecords import write_records

SHAPE = (4, 3, 1)
RAW = "image=image:4x3x1,label=label"
PNG = "image=image,label=label"
WITH_ID = f"{RAW},id=id"


def serialized(**features) -> bytes:
    """A serialized tf.Example of bytes, integers, floats, and lists of these."""
    message = tf_example_pb2.Example()
    for name, values in features.items():
        values = values if isinstance(values, list) else [values]
        feature = message.features.feature[name]
        kinds = {bytes: feature.bytes_list, int: feature.int64_list, float: feature.float_list}
        kinds[type(values[0])].value.extend(values)
    return message.SerializeToString(deterministic=True)


def example(image: object = None, label: object = 1, **others) -> bytes:
    features = {} if image is None else {"image": image}
    return serialized(**features, label=label, **others)


def pixels(count: int, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def raw(images: np.ndarray, labels) -> list[bytes]:
    return [
        serialized(image=image.tobytes(), label=int(label))
        for image, label in zip(images, labels, strict=True)
    ]


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def make_source(pattern, features: str = RAW, **conversion) -> TfrecordsSource:
    return TfrecordsSource(str(pattern), FeatureMap.parse(features), Conversion(**conversion))


def read(records: TfrecordsSource, split: str = "train") -> tuple[ExampleBatch, list[Rejected]]:
    """A split sorted by id, and its rejected records; the slices are read in random order."""
    parts = [part for part in records.slices() if part.split == split]
    random.Random(0).shuffle(parts)
    items = [item for part in parts for item in records.read(part)]
    batch = ExampleBatch.concatenate(item for item in items if isinstance(item, ExampleBatch))
    rejected = [item for item in items if isinstance(item, Rejected)]
    assert len(batch) + len(rejected) == records.num_examples[split]
    return batch.take(np.argsort(batch.ids)), rejected


def test_raw_pixels_are_read(tmp_path):
    images, labels = pixels(25), np.arange(25) * 7 % 200
    write_records(tmp_path / "a-train.tfrecord-00000-of-00002", raw(images[:10], labels[:10]))
    write_records(tmp_path / "a-train.tfrecord-00001-of-00002", raw(images[10:20], labels[10:20]))
    write_records(tmp_path / "a-test.tfrecord-00000-of-00001", raw(images[20:], labels[20:]))
    records = make_source(tmp_path)
    assert records.num_examples == {"train": 20, "test": 5}
    assert records.class_names == [str(label) for label in range(max(labels) + 1)]
    assert records.name == "a"
    batch, rejected = read(records)
    assert rejected == []
    assert batch.ids == [source.example_id("train", index) for index in range(20)]
    np.testing.assert_array_equal(batch.images, images[:20])
    np.testing.assert_array_equal(batch.labels, labels[:20])
    np.testing.assert_array_equal(read(records, "test")[0].images, images[20:])


def test_shards_of_this_project_are_read_as_tfds_reads_them(examples_dir):
    import tensorflow_datasets as tfds

    records = make_source(examples_dir, "image=image:28x28x1,label=label,id=id")
    builder = tfds.builder_from_directory(examples_dir)
    for split, count in records.num_examples.items():
        theirs = list(builder.as_dataset(split=split).as_numpy_iterator())
        assert len(theirs) == count
        batch, rejected = read(records, split)
        assert rejected == []
        theirs.sort(key=lambda example: example["id"])
        assert batch.ids == [example["id"].decode() for example in theirs]
        np.testing.assert_array_equal(batch.images, [example["image"] for example in theirs])
        np.testing.assert_array_equal(batch.labels, [example["label"] for example in theirs])
    assert set(records.num_examples) == set(builder.info.splits)


def test_encoded_images_of_several_shapes_are_read(tmp_path):
    gray, rgb = pixels(6), pixels(5, (5, 7, 3))
    data = [serialized(**{"image/encoded": png(image), "y": 1}) for image in [*gray, *rgb]]
    write_records(tmp_path / "data.tfrecord", data)
    records = make_source(tmp_path / "data.tfrecord", "image=image/encoded,label=y")
    batches = [batch for part in records.slices() for batch in records.read(part)]
    assert {batch.shape: len(batch) for batch in batches} == {(4, 3, 1): 6, (5, 7, 3): 5}
    by_id = {
        key: image for batch in batches for key, image in zip(batch.ids, batch.images, strict=True)
    }
    for index, image in enumerate([*gray, *rgb]):
        np.testing.assert_array_equal(by_id[source.example_id("train", index)], image)


def test_images_are_converted(tmp_path):
    images = pixels(3)
    write_records(tmp_path / "raw.tfrecord", raw(images, [0, 1, 2]))
    write_records(
        tmp_path / "png.tfrecord", [serialized(image=png(image), label=0) for image in images]
    )
    rgb_images = np.repeat(images, 3, axis=-1)
    for name, features in (("raw", RAW), ("png", PNG)):
        records = make_source(tmp_path / f"{name}.tfrecord", features, channels=3)
        np.testing.assert_array_equal(read(records)[0].images, rgb_images)
    assert read(make_source(tmp_path / "raw.tfrecord", image_size=(2, 2)))[0].shape == (2, 2, 1)


def test_pixels_may_be_stored_as_numbers(tmp_path):
    images = pixels(4)
    data = [serialized(image=image.ravel().tolist(), label=3) for image in images]
    write_records(tmp_path / "a.tfrecord", data)
    np.testing.assert_array_equal(read(make_source(tmp_path))[0].images, images)


def test_labels_may_be_texts(tmp_path):
    texts = ["cat", "ape", "två\n", "cat"]
    data = [serialized(image=bytes(12), label=text.encode()) for text in texts]
    write_records(tmp_path / "a.tfrecord", [*data, serialized(image=bytes(12), label=1)])
    records = make_source(tmp_path)
    assert records.class_names == ["ape", "cat", "två%0A"]
    batch, rejected = read(records)
    assert batch.labels.tolist() == [1, 0, 2, 1]
    assert [(item.reason, item.detail) for item in rejected] == [
        (Reason.BAD_LABEL, "no label in feature 'label': 1")
    ]


def test_images_may_have_no_labels(tmp_path):
    write_records(tmp_path / "a.tfrecord", raw(pixels(3), [5, 6, 7]))
    records = make_source(tmp_path, "image=image:4x3x1")
    assert records.class_names == ["unlabelled"]
    assert read(records)[0].labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("features", "data", "reason", "detail", "label"),
    [
        (RAW, b"\xff", Reason.UNDECODABLE, "not a tf.Example", None),
        (RAW, example(), Reason.UNDECODABLE, "no pixels in feature 'image'", 1),
        (PNG, example(5), Reason.UNDECODABLE, "no bytes in feature 'image'", 1),
        (PNG, example(b""), Reason.EMPTY, "", 1),
        (PNG, example(b"abc"), Reason.WRONG_TYPE, "", 1),
        (RAW, example(bytes(11)), Reason.WRONG_SHAPE, "11 pixel values in", 1),
        (RAW, example([1] * 13), Reason.WRONG_SHAPE, "'image', but 4x3x1 has 12", 1),
        (RAW, example([256] * 12), Reason.WRONG_TYPE, "outside 0..255", 1),
        (RAW, example([-1] * 12), Reason.WRONG_TYPE, "outside 0..255", 1),
        (
            RAW,
            serialized(image=bytes(12)),
            Reason.BAD_LABEL,
            "no label in feature 'label': []",
            None,
        ),
        (RAW, example(bytes(12), -2), Reason.BAD_LABEL, "'label': [-2]", None),
        (RAW, example([bytes(12)] * 24), Reason.WRONG_TYPE, "24 images in feature 'image'", 1),
        (PNG, example([bytes(12)] * 24), Reason.WRONG_TYPE, "24 images in feature 'image'", 1),
        (RAW, example(bytes(12), 65536), Reason.BAD_LABEL, "'label': [65536]", None),
        (
            RAW,
            example(bytes(12), [1, 2]),
            Reason.BAD_LABEL,
            "2 values in feature 'label', not one label: [1, 2]",
            None,
        ),
        (RAW, example(bytes(12), 0.5), Reason.BAD_LABEL, "1 float in feature 'label'", None),
        (
            RAW,
            example([0.5] * 12),
            Reason.WRONG_TYPE,
            "no pixels in feature 'image': 12 floats in feature 'image'; if these are pixels",
            1,
        ),
        (PNG, example([0.5] * 12), Reason.WRONG_TYPE, "no bytes in feature 'image': 12 floats", 1),
        (
            RAW,
            example(bytes(24)),
            Reason.WRONG_SHAPE,
            "2 bytes per value, uint16? Then pass",
            1,
        ),
        (RAW, example(bytes(36)), Reason.WRONG_SHAPE, "but 4x3x1 has 12: 4x3x3?", 1),
        (RAW, example([1] * 36), Reason.WRONG_SHAPE, "but 4x3x1 has 12: 4x3x3?", 1),
        (RAW, example(bytes(48)), Reason.WRONG_SHAPE, "4 bytes per value, float32? Then pass", 1),
        (RAW, example(bytes(96)), Reason.WRONG_SHAPE, "8 bytes per value, float64? Then pass", 1),
        (RAW, example(bytes(12), b"\xff"), Reason.BAD_LABEL, r"[b'\xff']", None),
        (RAW, example(bytes(12), b"one"), Reason.BAD_LABEL, "'label': one", None),
        (WITH_ID, example(bytes(12)), Reason.UNDECODABLE, "no id in feature 'id'", 1),
        (WITH_ID, example(bytes(12), id=b"\xff"), Reason.UNDECODABLE, "no id in", 1),
    ],
)
def test_records_that_are_not_examples_are_rejected_with_a_reason(
    tmp_path, features, data, reason, detail, label
):
    image = bytes(12) if ":" in features else png(np.zeros(SHAPE, np.uint8))
    good = [serialized(image=image, label=1, id=key) for key in (b"x\n", b"y")]
    write_records(tmp_path / "a.tfrecord", [good[0], data, good[1]])
    batch, (rejected,) = read(make_source(tmp_path, features))
    assert len(batch) == 2
    if "id=" in features:
        assert batch.ids == ["x%0A", "y"]
    assert (rejected.id, rejected.split) == ("train-00000001", "train")
    assert (rejected.reason, rejected.label) == (reason, label)
    assert detail in rejected.detail
    assert "\n" not in rejected.detail


@pytest.mark.parametrize("features", [RAW, WITH_ID])
def test_a_long_file_is_read_in_slices(tmp_path, monkeypatch, features):
    monkeypatch.setattr(tfrecords, "RECORDS_PER_SLICE", 4)
    monkeypatch.setattr(source, "BATCH_EXAMPLES", 3)
    images = pixels(23)
    data = [
        serialized(image=image.tobytes(), label=1, id=f"{place:02}".encode())
        for place, image in enumerate(images)
    ]
    write_records(tmp_path / "a.tfrecord-0", data[:10])
    (tmp_path / "a.tfrecord-1.gz").write_bytes(
        gzip.compress(b"".join(map(tfrecord.frame, data[10:])))
    )
    records = make_source(tmp_path, features)
    parts = records.slices()
    assert [(part.first, part.examples) for part in parts] == [
        (0, 4), (4, 4), (8, 2), (10, 4), (14, 4), (18, 4), (22, 1)
    ]  # fmt: skip
    batch, rejected = read(records)
    assert rejected == []
    np.testing.assert_array_equal(batch.images, images)
    assert len(set(batch.ids)) == 23


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("fashion_mnist-test.tfrecord-00000-of-00001", "test"),
        ("val_0001.tfrecord", "validation"),
        ("train-00000-of-01024", "train"),
        ("dev.set.Testing.tfrec", "test"),
        ("a.tfrecord-test", "test"),
        ("train2017.tfrecord", "train"),
        ("val2017.tfrecord", "validation"),
        ("TestSet_1.tfrecord", "test"),
        ("tests.tfrecord", "test"),
        ("cifar10_tst.tfrecord", "test"),
        ("latest.tfrecord", "train"),
        ("val/a.tfrecord", "validation"),
        ("val/a-test.tfrecord", "test"),
    ],
)
def test_the_name_of_a_file_determines_its_split(tmp_path, file, split):
    path = tmp_path / "x" / file
    path.parent.mkdir(parents=True)
    write_records(path, raw(pixels(2), [0, 1]))
    assert dict(make_source(path).num_examples) == {split: 2}


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["cats-train.tfrecord", "cats-test.tfrecord"], "cats"),
        (["train-0", "val-0"], "my_folder"),
        (["a-train.tfrecord", "b-test.tfrecord"], "my_folder"),
        (["Wild-Cats.tfrecord"], "wild_cats"),
        (["cats-0.tfrecord", "cats-1.tfrecord"], "my_folder"),
    ],
)
def test_the_dataset_is_named_after_the_common_prefix_of_its_files(tmp_path, files, name):
    folder = tmp_path / "My-Folder"
    folder.mkdir()
    for file in files:
        write_records(folder / file, raw(pixels(1), [0]))
    assert make_source(folder / "*").name == name


def test_a_pattern_may_have_wildcards_in_folders(tmp_path):
    for file in ("[1]/train/a-0.tfrecord", "[1]/val/a-0.tfrecord", "[1]/val/b.txt", "[1]/val/.a-0"):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_records(path, raw(pixels(1), [0]))
    (tmp_path / "[1]" / "val" / "a-1").mkdir()
    records = make_source(tmp_path / "[1]" / "*" / "*-?*")
    assert [part.name for part in records.slices()] == ["train/a-0.tfrecord", "val/a-0.tfrecord"]
    assert [len(next(records.read(part))) for part in records.slices()] == [1, 1]


def test_a_folder_stands_for_its_tfrecord_files(tmp_path):
    write_records(tmp_path / "a.tfrec", raw(pixels(1), [0]))
    (tmp_path / "info.json").write_text("{}")
    assert [part.name for part in make_source(tmp_path).slices()] == ["a.tfrec"]


def test_a_folder_that_may_be_held_out_by_its_name_is_a_warning(tmp_path, capsys):
    (tmp_path / "my_val").mkdir()
    write_records(tmp_path / "my_val/a.tfrecord", raw(pixels(2), [0, 1]))
    assert make_source(tmp_path / "my_val").num_examples == {"train": 2}
    assert "warning: the name of the folder my_val may say that" in capsys.readouterr().err
    (tmp_path / "my_val/a.tfrecord").rename(tmp_path / "my_val/a-val.tfrecord")
    assert make_source(tmp_path / "my_val").num_examples == {"validation": 2}
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["eval", "my_val", "test_tube"])
def test_a_folder_of_a_pattern_that_may_be_held_out_is_refused(tmp_path, folder):
    for name in ("train", folder):
        (tmp_path / name).mkdir()
        write_records(tmp_path / name / "a.tfrecord", raw(pixels(2), [0, 1]))
    with pytest.raises(ConfigError, match=f"{folder}/a.tfrecord: {folder} may be") as caught:
        make_source(tmp_path / "*" / "*.tfrecord").slices()
    assert "\n" not in str(caught.value)
    (tmp_path / folder / "a.tfrecord").rename(tmp_path / folder / "a-test.tfrecord")
    records = make_source(tmp_path / "*" / "*.tfrecord")
    assert records.num_examples == {"train": 2, "test": 2}


@pytest.mark.parametrize(
    ("target", "kind"),
    [("/dev/zero", "a device"), ("/proc/kmsg", "a file of the kernel"), (None, "a pipe")],
)
def test_what_is_not_a_file_of_records_is_never_read(tmp_path, target, kind):
    path = tmp_path / "a-test.tfrecord"
    os.symlink(target, path) if target else os.mkfifo(path)
    write_records(tmp_path / "a-train.tfrecord", raw(pixels(2), [0, 1]))
    with pytest.raises(ConfigError, match=rf"a-test\.tfrecord is {kind}, not a regular file"):
        make_source(tmp_path).slices()


def test_a_pattern_without_files_is_refused_in_one_line(tmp_path):
    for pattern in (tmp_path, tmp_path / "a.tfrecord", tmp_path / "*"):
        with pytest.raises(ConfigError, match="no TFRecord file matches") as caught:
            make_source(pattern).slices()
        assert "\n" not in str(caught.value)


def test_a_broken_link_is_reported_in_one_line(tmp_path):
    (tmp_path / "a.tfrecord").symlink_to(tmp_path / "gone")
    with pytest.raises(WorkError, match=r"cannot read \S*a\.tfrecord: No such file"):
        make_source(tmp_path).slices()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("image=imge:4x3x1", "has the feature 'imge' of --features; nearest: image"),
        ("image=image,label=lable", "has the feature 'lable' of --features; nearest: label"),
        ("image=image,label=label,id=key", "has the feature 'key' of --features"),
        ("image=image,label=negative", r"no record of .* has a label: no label in .*'negative': "),
        (
            "image=image,label=float",
            "has a label: 1 float in feature 'float'; labels are integers",
        ),
        ("image=image,label=several", "has a label: 2 values in feature 'several', not one label"),
    ],
)
def test_a_feature_that_does_not_exist_is_reported_before_the_work(tmp_path, features, message):
    data = serialized(image=bytes(12), label=0, negative=-2, float=0.5, several=[1, 2])
    write_records(tmp_path / "a.tfrecord", [b"\xff", data])
    with pytest.raises(ConfigError, match=message):
        make_source(tmp_path, features).slices()


def test_files_without_a_tf_example_are_refused(tmp_path):
    write_records(tmp_path / "a.tfrecord", [b"\xff"])
    write_records(tmp_path / "b.tfrecord", [])
    with pytest.raises(ConfigError, match=r"holds no tf\.Example"):
        make_source(tmp_path).slices()


def test_a_damaged_file_stops_the_work(tmp_path):
    write_records(tmp_path / "a.tfrecord", raw(pixels(3), [0, 1, 2]))
    data = bytearray((tmp_path / "a.tfrecord").read_bytes())
    data[-9] ^= 1
    (tmp_path / "a.tfrecord").write_bytes(data)
    with pytest.raises(WorkError, match=r"record 2 of \S*a\.tfrecord has a wrong payload"):
        make_source(tmp_path).slices()


def test_a_file_that_has_shrunk_since_the_scan_stops_the_work(tmp_path):
    data = raw(pixels(3), [0, 1, 2])
    write_records(tmp_path / "a.tfrecord", data)
    records = make_source(tmp_path)
    (part,) = records.slices()
    write_records(tmp_path / "a.tfrecord", data[:2])
    with pytest.raises(WorkError, match=r"a\.tfrecord holds 2 records, fewer than"):
        list(records.read(part))


def test_a_pickled_source_does_not_scan_again(tmp_path):
    images = pixels(300)
    for file in ("a.tfrecord", "b.tfrecord"):
        write_records(tmp_path / file, raw(images, np.arange(300) % 10))
    records = make_source(tmp_path)
    data = pickle.dumps(records)
    assert len(data) < 2000
    os.remove(tmp_path / "b.tfrecord")
    copy = pickle.loads(data)
    assert copy == records
    assert (copy.slices(), copy.class_names) == (records.slices(), records.class_names)
    (batch,) = copy.read(copy.slices()[0])
    np.testing.assert_array_equal(batch.images, images)


def test_the_scan_is_announced_once(tmp_path, capsys):
    for file in ("pets-train.tfrecord", "pets-test.tfrecord"):
        write_records(tmp_path / file, raw(pixels(2), [0, 1]))
    records = make_source(tmp_path)
    assert (records.name, capsys.readouterr().err) == ("pets", "")
    records.slices()
    read(pickle.loads(pickle.dumps(records)))
    message = "scanning 2 TFRecord files of pets for the number of records and the labels\n"
    assert capsys.readouterr().err == message


def test_the_fingerprint_needs_no_scan_and_changes_with_the_files(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"no record")
    first = make_source(tmp_path).input
    assert first == make_source(tmp_path).input
    assert first.path == tmp_path
    status = path.stat()
    os.utime(path, (status.st_atime, status.st_mtime + 5))
    second = make_source(tmp_path).input
    path.rename(tmp_path / "b.tfrecord")
    assert (
        len({first.fingerprint, second.fingerprint, make_source(tmp_path).input.fingerprint}) == 3
    )


def test_the_settings_are_those_of_the_user():
    assert make_source("a", RAW, image_size=(8, 9), channels=1).settings == {
        "features": RAW,
        "image_size": [8, 9],
        "channels": 1,
    }
    assert make_source("a").settings == {"features": RAW, "image_size": None, "channels": None}


def test_a_label_of_minus_one_means_unlabelled(tmp_path):
    write_records(tmp_path / "a-train.tfrecord", raw(pixels(6), [0, 2, -1, 1, -1, 0]))
    write_records(tmp_path / "a-test.tfrecord", raw(pixels(2), [-1, -1]))
    records = make_source(tmp_path)
    assert records.class_names == ["0", "1", "2", "unlabelled"]
    batch, rejected = read(records)
    assert (batch.labels.tolist(), rejected) == ([0, 2, 3, 1, 3, 0], [])
    assert read(records, "test")[0].labels.tolist() == [3, 3]


def test_labels_that_are_all_minus_one_or_texts(tmp_path):
    write_records(tmp_path / "a.tfrecord", raw(pixels(3), [-1] * 3))
    assert make_source(tmp_path / "a.tfrecord").class_names == ["unlabelled"]
    data = [example(bytes(12), label) for label in (b"cat", -1, -1, -1, b"unlabelled", b"ape")]
    write_records(tmp_path / "b.tfrecord", data)
    records = make_source(tmp_path / "b.tfrecord")
    assert records.class_names == ["ape", "cat", "unlabelled"]
    assert read(records)[0].labels.tolist() == [1, 2, 2, 2, 2, 0]


def test_a_split_without_a_feature_is_named(tmp_path):
    write_records(tmp_path / "a-train.tfrecord", raw(pixels(6), range(6)))
    write_records(tmp_path / "a-test.tfrecord", [serialized(image=bytes(12), name=b"x")])
    message = "no record of the split test of .* has the feature 'label' .*: its records have image"
    with pytest.raises(ConfigError, match=message.replace(": its", "; its")) as caught:
        make_source(tmp_path).slices()
    assert "\n" not in str(caught.value)
    assert make_source(tmp_path, "image=image:4x3x1").num_examples == {"train": 6, "test": 1}


def test_a_split_without_records_is_a_split_of_size_zero(tmp_path):
    write_records(tmp_path / "a-train.tfrecord", raw(pixels(6), range(6)))
    write_records(tmp_path / "a-test.tfrecord", [])
    assert make_source(tmp_path).num_examples == {"train": 6, "test": 0}


STORED = {
    "uint8": lambda images: images,
    "uint16": lambda images: images.astype("<u2") * 257,
    "float32": lambda images: images.astype("<f4") / 255,
    "float64": lambda images: images / 255,
}


@pytest.mark.parametrize("pixel_type", STORED)
@pytest.mark.parametrize("is_first", [False, True])
def test_raw_pixels_of_any_type_and_order_are_read(tmp_path, pixel_type, is_first):
    images, labels = pixels(20, (6, 5, 3)), np.arange(20) % 4
    stored = STORED[pixel_type](images)
    stored = stored.transpose(0, 3, 1, 2) if is_first else stored
    write_records(tmp_path / "a.tfrecord", raw(stored, labels))
    shape = "3x6x5" if is_first else "6x5x3"
    records = make_source(tmp_path, f"image=image:{pixel_type}:{shape},label=label")
    batch, rejected = read(records)
    assert rejected == []
    np.testing.assert_array_equal(batch.images, images)
    np.testing.assert_array_equal(batch.labels, labels)
    assert FeatureMap.parse(records.settings["features"]) == records.features


@pytest.mark.parametrize("pixel_type", ["uint8", "uint16", "float32", "float64"])
def test_raw_pixels_may_be_lists_of_numbers_of_their_type(tmp_path, pixel_type):
    images = pixels(5, (6, 5, 3))
    stored = STORED[pixel_type](images).transpose(0, 3, 1, 2)
    data = [serialized(image=image.ravel().tolist(), label=1) for image in stored]
    write_records(tmp_path / "a.tfrecord", data)
    batch, rejected = read(make_source(tmp_path, f"image=image:{pixel_type}:3x6x5,label=label"))
    assert rejected == []
    np.testing.assert_array_equal(batch.images, images)


@pytest.mark.parametrize("value", [-0.1, 1.1, 255.0, np.nan, np.inf])
def test_images_with_floats_outside_0_to_1_are_rejected_one_by_one(tmp_path, value):
    stored = np.linspace(0, 1, 3 * 12, dtype="<f4").reshape(3, *SHAPE)
    stored[1, 2, 1] = value
    write_records(tmp_path / "a.tfrecord", raw(stored, [0, 1, 2]))
    batch, (rejected,) = read(make_source(tmp_path, "image=image:float32:4x3x1,label=label"))
    assert batch.labels.tolist() == [0, 2]
    assert (rejected.id, rejected.reason, rejected.label) == (
        "train-00000001",
        Reason.WRONG_TYPE,
        1,
    )
    assert rejected.detail == "values outside 0..1 in feature 'image'"


def test_integers_outside_the_type_of_the_pixels_are_rejected(tmp_path):
    data = [serialized(image=[value] * 12, label=1) for value in (65_535, 65_536, -1)]
    write_records(tmp_path / "a.tfrecord", data)
    batch, rejected = read(make_source(tmp_path, "image=image:uint16:4x3x1,label=label"))
    assert (batch.images == 255).all()
    assert {item.detail for item in rejected} == {"values outside 0..65535 in feature 'image'"}


def test_typed_pixels_of_another_size_are_rejected_with_the_sizes(tmp_path):
    write_records(tmp_path / "a.tfrecord", [example(bytes(12)), example(bytes(48))])
    batch, (rejected,) = read(make_source(tmp_path, "image=image:float32:4x3x1,label=label"))
    assert len(batch) == 1
    assert rejected.detail == "12 bytes in feature 'image', but float32 4x3x1 has 48"


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_record_that_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path, compress):
    path = tmp_path / "a.tfrecord"
    long = tfrecord.frame(example(bytes(5_000_000)))
    path.write_bytes(compress(tfrecord.frame(example(bytes(12))) + long))
    size = len(long) - 16
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=f"record 1 of .* pass --load_bytes {size}") as caught:
            _ = TfrecordsSource(str(path), FeatureMap.parse(RAW), load_bytes=size - 1).class_names
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    records = TfrecordsSource(str(path), FeatureMap.parse(RAW), load_bytes=size)
    batch, (rejected,) = read(records)
    assert (len(batch), rejected.reason) == (1, Reason.WRONG_SHAPE)


def test_texts_that_are_all_different_are_no_labels(tmp_path, monkeypatch):
    """Collecting them would fill the memory."""
    monkeypatch.setattr(tfrecord_scan, "_MAX_SCANNED_LABELS", 50)
    data = [example(bytes(12), f"{index}".encode()) for index in range(60)]
    write_records(tmp_path / "a.tfrecord", data)
    with pytest.raises(ConfigError, match=r"feature 'label' of .* holds over 50 classes, but"):
        _ = make_source(tmp_path).class_names
    write_records(tmp_path / "a.tfrecord", data[:50])
    assert len(make_source(tmp_path).class_names) == 50

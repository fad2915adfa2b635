import gzip
import io
import os
import pickle
import random

import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from components.base.errors import ConfigError, WorkError
from components.data import tfrecord
from components.data.examples import ExampleBatch
from components.ingest.images import Conversion
from components.ingest.ledger import Reason, Rejected
from components.sources import source, tfrecords
from components.sources.feature_map import FeatureMap
from components.sources.tfrecords import TfrecordsSource

SHAPE = (4, 3, 1)
RAW = "image=image:4x3x1,label=label"
PNG = "image=image,label=label"
WITH_ID = f"{RAW},id=id"


def serialized(**features) -> bytes:
    """A tf.Example of bytes, numbers and lists of either."""
    message = tf_example_pb2.Example()
    for name, values in features.items():
        values = values if isinstance(values, list) else [values]
        feature = message.features.feature[name]
        kind = feature.bytes_list if isinstance(values[0], bytes) else feature.int64_list
        kind.value.extend(values)
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


def read(of: TfrecordsSource, split: str = "train") -> tuple[ExampleBatch, list[Rejected]]:
    """A split, in the order of its ids; its slices read in any order."""
    parts = [part for part in of.slices() if part.split == split]
    random.Random(0).shuffle(parts)
    items = [item for part in parts for item in of.read(part)]
    block = ExampleBatch.concatenate(item for item in items if isinstance(item, ExampleBatch))
    rejected = [item for item in items if isinstance(item, Rejected)]
    assert len(block) + len(rejected) == of.num_examples[split]
    return block.take(np.argsort(block.ids)), rejected


def test_raw_pixels_come_back(tmp_path):
    images, labels = pixels(25), np.arange(25) * 7 % 200
    tfrecord.write_records(
        tmp_path / "a-train.tfrecord-00000-of-00002", raw(images[:10], labels[:10])
    )
    tfrecord.write_records(
        tmp_path / "a-train.tfrecord-00001-of-00002", raw(images[10:20], labels[10:20])
    )
    tfrecord.write_records(
        tmp_path / "a-test.tfrecord-00000-of-00001", raw(images[20:], labels[20:])
    )
    of = make_source(tmp_path)
    assert of.num_examples == {"train": 20, "test": 5}
    assert of.class_names == [str(label) for label in range(max(labels) + 1)]
    assert of.name == "a"
    block, rejected = read(of)
    assert rejected == []
    assert block.ids == [source.example_id("train", index) for index in range(20)]
    np.testing.assert_array_equal(block.images, images[:20])
    np.testing.assert_array_equal(block.labels, labels[:20])
    np.testing.assert_array_equal(read(of, "test")[0].images, images[20:])


def test_what_this_project_prepared_comes_back(examples_dir):
    import tensorflow_datasets as tfds

    of = make_source(examples_dir, "image=image:28x28x1,label=label,id=id")
    builder = tfds.builder_from_directory(examples_dir)
    for split, count in of.num_examples.items():
        theirs = list(builder.as_dataset(split=split).as_numpy_iterator())
        assert len(theirs) == count
        block, rejected = read(of, split)
        assert rejected == []
        theirs.sort(key=lambda example: example["id"])
        assert block.ids == [example["id"].decode() for example in theirs]
        np.testing.assert_array_equal(block.images, [example["image"] for example in theirs])
        np.testing.assert_array_equal(block.labels, [example["label"] for example in theirs])
    assert set(of.num_examples) == set(builder.info.splits)


def test_encoded_images_come_back_of_several_shapes(tmp_path):
    gray, rgb = pixels(6), pixels(5, (5, 7, 3))
    data = [serialized(**{"image/encoded": png(image), "y": 1}) for image in [*gray, *rgb]]
    tfrecord.write_records(tmp_path / "data.tfrecord", data)
    of = make_source(tmp_path / "data.tfrecord", "image=image/encoded,label=y")
    blocks = [block for part in of.slices() for block in of.read(part)]
    assert {block.shape: len(block) for block in blocks} == {(4, 3, 1): 6, (5, 7, 3): 5}
    by_id = {
        key: image for block in blocks for key, image in zip(block.ids, block.images, strict=True)
    }
    for index, image in enumerate([*gray, *rgb]):
        np.testing.assert_array_equal(by_id[source.example_id("train", index)], image)


def test_images_are_converted(tmp_path):
    images = pixels(3)
    tfrecord.write_records(tmp_path / "raw.tfrecord", raw(images, [0, 1, 2]))
    tfrecord.write_records(
        tmp_path / "png.tfrecord", [serialized(image=png(image), label=0) for image in images]
    )
    colours = np.repeat(images, 3, axis=-1)
    for name, features in (("raw", RAW), ("png", PNG)):
        of = make_source(tmp_path / f"{name}.tfrecord", features, channels=3)
        np.testing.assert_array_equal(read(of)[0].images, colours)
    assert read(make_source(tmp_path / "raw.tfrecord", image_size=(2, 2)))[0].shape == (2, 2, 1)


def test_pixels_that_stand_as_numbers(tmp_path):
    images = pixels(4)
    data = [serialized(image=image.ravel().tolist(), label=3) for image in images]
    tfrecord.write_records(tmp_path / "a.tfrecord", data)
    np.testing.assert_array_equal(read(make_source(tmp_path))[0].images, images)


def test_labels_that_are_texts(tmp_path):
    texts = ["cat", "ape", "två\n", "cat"]
    data = [serialized(image=bytes(12), label=text.encode()) for text in texts]
    tfrecord.write_records(tmp_path / "a.tfrecord", [*data, serialized(image=bytes(12), label=1)])
    of = make_source(tmp_path)
    assert of.class_names == ["ape", "cat", "två%0A"]
    block, rejected = read(of)
    assert block.labels.tolist() == [1, 0, 2, 1]
    assert [(each.reason, each.detail) for each in rejected] == [
        (Reason.BAD_LABEL, "no label in feature 'label': 1")
    ]


def test_images_without_labels(tmp_path):
    tfrecord.write_records(tmp_path / "a.tfrecord", raw(pixels(3), [5, 6, 7]))
    of = make_source(tmp_path, "image=image:4x3x1")
    assert of.class_names == ["unlabelled"]
    assert read(of)[0].labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("features", "data", "reason", "detail", "label"),
    [
        (RAW, b"\xff", Reason.UNDECODABLE, "not a tf.Example", None),
        (RAW, example(), Reason.UNDECODABLE, "no pixels in feature 'image'", 1),
        (PNG, example(5), Reason.UNDECODABLE, "no bytes in feature 'image'", 1),
        (PNG, example(b""), Reason.EMPTY, "", 1),
        (PNG, example(b"abc"), Reason.WRONG_TYPE, "", 1),
        (RAW, example(bytes(11)), Reason.WRONG_SHAPE, "11 pixel values in", 1),
        (RAW, example([1] * 13), Reason.WRONG_SHAPE, "'image', 4x3x1 is 12", 1),
        (RAW, example([256] * 12), Reason.WRONG_TYPE, "outside 0..255", 1),
        (RAW, example([-1] * 12), Reason.WRONG_TYPE, "outside 0..255", 1),
        (
            RAW,
            serialized(image=bytes(12)),
            Reason.BAD_LABEL,
            "no label in feature 'label': []",
            None,
        ),
        (RAW, example(bytes(12), -1), Reason.BAD_LABEL, "'label': [-1]", None),
        (RAW, example(bytes(12), 65536), Reason.BAD_LABEL, "'label': [65536]", None),
        (RAW, example(bytes(12), [1, 2]), Reason.BAD_LABEL, "'label': [1, 2]", None),
        (RAW, example(bytes(12), b"\xff"), Reason.BAD_LABEL, r"[b'\xff']", None),
        (RAW, example(bytes(12), b"one"), Reason.BAD_LABEL, "'label': one", None),
        (WITH_ID, example(bytes(12)), Reason.UNDECODABLE, "no id in feature 'id'", 1),
        (WITH_ID, example(bytes(12), id=b"\xff"), Reason.UNDECODABLE, "no id in", 1),
    ],
)
def test_what_is_no_example_is_rejected_with_the_reason(
    tmp_path, features, data, reason, detail, label
):
    image = bytes(12) if ":" in features else png(np.zeros(SHAPE, np.uint8))
    good = [serialized(image=image, label=1, id=key) for key in (b"x\n", b"y")]
    tfrecord.write_records(tmp_path / "a.tfrecord", [good[0], data, good[1]])
    block, (rejected,) = read(make_source(tmp_path, features))
    assert len(block) == 2
    if "id=" in features:
        assert block.ids == ["x%0A", "y"]
    assert (rejected.id, rejected.split) == ("train-00000001", "train")
    assert (rejected.reason, rejected.label) == (reason, label)
    assert detail in rejected.detail
    assert "\n" not in rejected.detail


@pytest.mark.parametrize("features", [RAW, WITH_ID])
def test_a_long_file_is_cut_into_slices(tmp_path, monkeypatch, features):
    monkeypatch.setattr(tfrecords, "RECORDS_PER_SLICE", 4)
    monkeypatch.setattr(source, "BLOCK_EXAMPLES", 3)
    images = pixels(23)
    data = [
        serialized(image=image.tobytes(), label=1, id=f"{place:02}".encode())
        for place, image in enumerate(images)
    ]
    tfrecord.write_records(tmp_path / "a.tfrecord-0", data[:10])
    (tmp_path / "a.tfrecord-1.gz").write_bytes(
        gzip.compress(b"".join(map(tfrecord.frame, data[10:])))
    )
    of = make_source(tmp_path, features)
    parts = of.slices()
    assert [(part.first, part.examples) for part in parts] == [
        (0, 4), (4, 4), (8, 2), (10, 4), (14, 4), (18, 4), (22, 1)
    ]  # fmt: skip
    block, rejected = read(of)
    assert rejected == []
    np.testing.assert_array_equal(block.images, images)
    assert len(set(block.ids)) == 23


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("fashion_mnist-test.tfrecord-00000-of-00001", "test"),
        ("val_0001.tfrecord", "validation"),
        ("train-00000-of-01024", "train"),
        ("dev.set.Testing.tfrec", "test"),
        ("a.tfrecord-test", "train"),
        ("latest.tfrecord", "train"),
        ("val/a.tfrecord", "validation"),
        ("val/a-test.tfrecord", "test"),
        ("my_val/a.tfrecord", "train"),
    ],
)
def test_the_split_is_told_by_the_files_name(tmp_path, file, split):
    path = tmp_path / "x" / file
    path.parent.mkdir(parents=True)
    tfrecord.write_records(path, raw(pixels(2), [0, 1]))
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
def test_the_name_is_what_the_files_have_in_common(tmp_path, files, name):
    folder = tmp_path / "My-Folder"
    folder.mkdir()
    for file in files:
        tfrecord.write_records(folder / file, raw(pixels(1), [0]))
    assert make_source(folder / "*").name == name


def test_a_pattern_names_files_in_folders(tmp_path):
    for file in ("[1]/train/a-0.tfrecord", "[1]/val/a-0.tfrecord", "[1]/val/b.txt", "[1]/val/.a-0"):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        tfrecord.write_records(path, raw(pixels(1), [0]))
    (tmp_path / "[1]" / "val" / "a-1").mkdir()
    of = make_source(tmp_path / "[1]" / "*" / "*-?*")
    assert [part.name for part in of.slices()] == ["train/a-0.tfrecord", "val/a-0.tfrecord"]
    assert [len(next(of.read(part))) for part in of.slices()] == [1, 1]


def test_a_folder_is_its_tfrecord_files(tmp_path):
    tfrecord.write_records(tmp_path / "a.tfrec", raw(pixels(1), [0]))
    (tmp_path / "info.json").write_text("{}")
    assert [part.name for part in make_source(tmp_path).slices()] == ["a.tfrec"]


def test_no_file_is_one_line(tmp_path):
    for pattern in (tmp_path, tmp_path / "a.tfrecord", tmp_path / "*"):
        with pytest.raises(ConfigError, match="no TFRecord file matches") as caught:
            make_source(pattern).slices()
        assert "\n" not in str(caught.value)


def test_a_link_that_leads_nowhere_is_one_line(tmp_path):
    (tmp_path / "a.tfrecord").symlink_to(tmp_path / "gone")
    with pytest.raises(WorkError, match=r"cannot read \S*a\.tfrecord: No such file"):
        make_source(tmp_path).slices()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("image=imge:4x3x1", "has the feature 'imge' of --features; nearest: image"),
        ("image=image,label=lable", "has the feature 'lable' of --features; nearest: label"),
        ("image=image,label=label,id=key", "has the feature 'key' of --features"),
        ("image=image,label=float", "'float' of .* holds 0 classes"),
    ],
)
def test_a_feature_that_is_not_there_is_told_at_once(tmp_path, features, message):
    data = serialized(image=bytes(12), label=0, float=[-1])
    tfrecord.write_records(tmp_path / "a.tfrecord", [b"\xff", data])
    with pytest.raises(ConfigError, match=message):
        make_source(tmp_path, features).slices()


def test_files_without_a_tf_example_are_told(tmp_path):
    tfrecord.write_records(tmp_path / "a.tfrecord", [b"\xff"])
    tfrecord.write_records(tmp_path / "b.tfrecord", [])
    with pytest.raises(ConfigError, match=r"holds no tf\.Example"):
        make_source(tmp_path).slices()


def test_a_damaged_file_fails_the_work(tmp_path):
    tfrecord.write_records(tmp_path / "a.tfrecord", raw(pixels(3), [0, 1, 2]))
    data = bytearray((tmp_path / "a.tfrecord").read_bytes())
    data[-9] ^= 1
    (tmp_path / "a.tfrecord").write_bytes(data)
    with pytest.raises(WorkError, match=r"record 2 of \S*a\.tfrecord has a wrong payload"):
        make_source(tmp_path).slices()


def test_a_file_that_shrinks_meanwhile_fails_the_work(tmp_path):
    data = raw(pixels(3), [0, 1, 2])
    tfrecord.write_records(tmp_path / "a.tfrecord", data)
    of = make_source(tmp_path)
    (part,) = of.slices()
    tfrecord.write_records(tmp_path / "a.tfrecord", data[:2])
    with pytest.raises(WorkError, match=r"a\.tfrecord holds 2 records, less than"):
        list(of.read(part))


def test_a_copy_for_a_worker_scans_nothing_again(tmp_path):
    images = pixels(300)
    for file in ("a.tfrecord", "b.tfrecord"):
        tfrecord.write_records(tmp_path / file, raw(images, np.arange(300) % 10))
    of = make_source(tmp_path)
    data = pickle.dumps(of)
    assert len(data) < 2000
    os.remove(tmp_path / "b.tfrecord")
    copy = pickle.loads(data)
    assert copy == of
    assert (copy.slices(), copy.class_names) == (of.slices(), of.class_names)
    (block,) = copy.read(copy.slices()[0])
    np.testing.assert_array_equal(block.images, images)


def test_the_scan_is_announced_once(tmp_path, capsys):
    for file in ("pets-train.tfrecord", "pets-test.tfrecord"):
        tfrecord.write_records(tmp_path / file, raw(pixels(2), [0, 1]))
    of = make_source(tmp_path)
    assert (of.name, capsys.readouterr().err) == ("pets", "")
    of.slices()
    read(pickle.loads(pickle.dumps(of)))
    said = "scanning 2 TFRecord files of pets for their number of records and labels\n"
    assert capsys.readouterr().err == said


def test_the_input_is_told_without_reading_and_changes_with_the_files(tmp_path):
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


def test_the_settings_are_the_users():
    assert make_source("a", RAW, image_size=(8, 9), channels=1).settings == {
        "features": RAW,
        "image_size": [8, 9],
        "channels": 1,
    }
    assert make_source("a").settings == {"features": RAW, "image_size": None, "channels": None}

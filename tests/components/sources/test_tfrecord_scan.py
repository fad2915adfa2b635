import pytest
from etils import epath

from components.base.errors import ConfigError
from components.data import tf_example
from components.sources.feature_map import FeatureMap
from components.sources.tfrecord_scan import InputFile, RecordScan, scan_files
from tests.tfrecords import write_records

LABELS = {"a": [0, 3, 3], "b": [-1, 1], "c": []}


@pytest.fixture
def root(tmp_path) -> epath.Path:
    for name, labels in LABELS.items():
        payloads = [tf_example.serialize(b"key", b"image", label) for label in labels]
        write_records(tmp_path / name, payloads)
    return epath.Path(tmp_path)


def scan(root: epath.Path, features: str, splits: str = "train,train,train") -> RecordScan:
    by_file = dict(zip(LABELS, splits.split(","), strict=True))
    return scan_files(root, by_file, FeatureMap.parse(features), pattern="them", load_bytes=1 << 20)


def test_records_are_counted_by_split_and_labels_become_classes(root):
    scanned = scan(root, "image=image,label=label", "train,train,test")
    assert scanned == RecordScan(
        files={
            "a": InputFile("train", 0, 3),
            "b": InputFile("train", 3, 2),
            "c": InputFile("test", 0, 0),
        },
        class_names=["0", "1", "2", "3", "unlabelled"],
        labels={0: 0, 1: 1, 2: 2, 3: 3, -1: 4},
    )


def test_without_a_label_there_is_one_class(root):
    scanned = scan(root, "image=image")
    assert (scanned.class_names, scanned.labels) == (["unlabelled"], {})


@pytest.mark.parametrize(
    ("features", "splits", "message"),
    [
        ("image=imge", "train,train,test", "no record of them has the feature 'imge'"),
        ("image=image,label=image", "train,train,test", "no record of them has a label"),
    ],
)
def test_features_that_no_record_has_are_named(root, features, splits, message):
    if "label=image" in features:
        for name in "ab":
            write_records(root / name, [tf_example.serialize(b"key", b"\xff", 1)])
    with pytest.raises(ConfigError, match=message) as caught:
        scan(root, features, splits)
    assert "\n" not in str(caught.value)


def test_too_many_classes_are_an_error(root):
    write_records(root / "a", [tf_example.serialize(b"key", b"image", 2**16 - 1)])
    assert len(scan(root, "image=image,label=label").class_names) == 2**16 + 1
    # With that of the other file, there are 65,537 texts.
    texts = [b"%d" % number for number in range(2**16)]
    write_records(root / "a", [tf_example.serialize(b"key", text, 0) for text in texts])
    with pytest.raises(ConfigError, match="feature 'image' of them holds 65537 classes"):
        scan(root, "image=label,label=image")

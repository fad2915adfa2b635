import subprocess
import sys

import pytest
import tensorflow as tf

from components.data import tf_example
from tests.conftest import ROOT

SHAPE = (3, 2, 1)
PIXELS = bytes(range(6))
LABELS = [0, 1, 127, 128, 2**63 - 1, -1, -(2**63)]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("example_id", ["", "a", "é/日本"])
def test_id_and_label_round_trip(example_id, label):
    payload = tf_example.serialize(example_id.encode(), PIXELS, label)
    assert tf_example.id_and_label(payload, SHAPE) == (example_id, label)


def test_tensorflow_parses_a_serialized_example():
    payload = tf_example.serialize("é".encode(), PIXELS, -5)
    spec = {
        "id": tf.io.FixedLenFeature([], tf.string),
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    parsed = tf.io.parse_single_example(payload, spec)
    assert parsed["id"].numpy().decode() == "é"
    assert parsed["image"].numpy() == PIXELS
    assert parsed["label"].numpy() == -5


def test_features_are_serialized_in_the_order_of_their_names():
    payload = tf_example.serialize(b"a", PIXELS, 1)
    assert payload.index(b"id") < payload.index(b"image") < payload.index(b"label")


def test_features_are_found_by_name():
    feature = tf_example.features(tf_example.serialize(b"a", PIXELS, 7))
    assert sorted(feature) == ["id", "image", "label"]
    assert list(feature["image"].bytes_list.value) == [PIXELS]
    assert list(feature["label"].int64_list.value) == [7]


def test_bytes_that_are_not_an_example_are_refused():
    with pytest.raises(ValueError, match=r"is not a tf\.Example"):
        tf_example.features(b"\xff\xff")


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", tf_example.serialize(b"\xff", PIXELS, 1)])
def test_an_example_without_its_features_is_refused(payload):
    with pytest.raises(ValueError, match="does not have an id, an image and a label"):
        tf_example.id_and_label(payload, SHAPE)


@pytest.mark.parametrize("size", [0, 5, 7])
def test_an_image_of_another_size_is_refused(size):
    with pytest.raises(ValueError, match=f"has {size} bytes of pixels; 3x2x1 needs 6"):
        tf_example.id_and_label(tf_example.serialize(b"a", bytes(size), 1), SHAPE)


def test_the_bytes_are_the_same_without_tensorflow():
    program = f"""
import sys
from components.data import tf_example
data = tf_example.serialize(b"a", {PIXELS!r}, 200)
assert "tensorflow" not in sys.modules
print(data.hex())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert bytes.fromhex(done.stdout) == tf_example.serialize(b"a", PIXELS, 200)


def test_a_row_becomes_features_of_the_types_of_its_values():
    row = {"text": "é", "bytes": b"\xff", "whole": 3, "number": 0.5, "list": [1.0, 2.0]}
    row["no"] = None
    features = tf_example.features(tf_example.serialize_row(row))
    assert features["text"].bytes_list.value == ["é".encode()]
    assert features["bytes"].bytes_list.value == [b"\xff"]
    assert features["whole"].int64_list.value == [3]
    assert features["number"].float_list.value == [0.5]
    assert features["list"].float_list.value == [1.0, 2.0]
    assert features["no"].WhichOneof("kind") is None

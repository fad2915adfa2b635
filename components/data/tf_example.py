"""The tf.Example of one example, serialized and parsed by protobuf itself.

`codec` does both for thousands of examples at once, and must produce the same bytes.
"""

import math
import sys
from collections.abc import Mapping
from typing import Any

from components.base.shapes import Shape, format_shape


def serialize(example_id: bytes, image: bytes, label: int) -> bytes:
    """Serializes one example; equal examples give equal bytes.

    Args:
      example_id: the id, in UTF-8.
      image: the pixels, row by row.
      label: the label, an int64.
    """
    example = _example_class()()
    feature = example.features.feature
    feature["id"].bytes_list.value.append(example_id)
    feature["image"].bytes_list.value.append(image)
    feature["label"].int64_list.value.append(label)
    # Without this flag, protobuf may write the entries of a map in any order.
    return example.SerializeToString(deterministic=True)


def serialize_row(row: Mapping[str, Any]) -> bytes:
    """Serializes a row of a table; equal rows give equal bytes.

    Args:
      row: by the name of its feature, a text, bytes, an integer, a float, a list of floats, or None
        for a feature without values.
    """
    example = _example_class()()
    for name, value in row.items():
        feature = example.features.feature[name]
        if isinstance(value, str | bytes):
            feature.bytes_list.value.append(value.encode() if isinstance(value, str) else value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        elif value is not None:
            feature.float_list.value.extend(value if isinstance(value, list) else [value])
    return example.SerializeToString(deterministic=True)


def features(payload: bytes) -> Any:
    """The features of a serialized tf.Example: protobuf's map from names to Feature messages.

    Raises:
      ValueError: `payload` is not a tf.Example.
    """
    from google.protobuf.message import DecodeError

    try:
        return _example_class().FromString(payload).features.feature
    except DecodeError:
        raise ValueError("is not a tf.Example") from None


def id_and_label(payload: bytes, image_shape: Shape) -> tuple[str, int]:
    """The id and the label of a serialized example of this project.

    Raises:
      ValueError: it lacks one of the features, or its image does not have the shape `image_shape`.
    """
    try:
        feature = features(payload)
        example_id = feature["id"].bytes_list.value[0].decode()
        pixels = feature["image"].bytes_list.value[0]
        label = feature["label"].int64_list.value[0]
    except (ValueError, IndexError):
        raise ValueError("does not have an id, an image and a label") from None
    size = math.prod(image_shape)
    if len(pixels) != size:
        raise ValueError(
            f"has {len(pixels)} bytes of pixels; {format_shape(image_shape)} needs {size}"
        )
    return example_id, label


def _example_class() -> Any:
    """The class of tf.Example messages.

    It is TensorFlow's if TensorFlow is loaded, and otherwise TFDS's equivalent, whose import takes
    only half a second.
    """
    if "tensorflow" in sys.modules:
        from tensorflow.core.example.example_pb2 import Example

        return Example
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example

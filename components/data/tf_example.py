"""One tf.Example at a time, by protobuf itself."""

import math
import sys
from typing import Any

from components.base.shapes import Shape, format_shape


def serialize(example_id: bytes, image: bytes, label: int) -> bytes:
    """One tf.Example; the same example gives the same bytes."""
    example = _message()()
    feature = example.features.feature
    feature["id"].bytes_list.value.append(example_id)
    feature["image"].bytes_list.value.append(image)
    feature["label"].int64_list.value.append(label)
    # Without this flag protobuf may write the map's entries in any order.
    return example.SerializeToString(deterministic=True)


def features(payload: bytes) -> Any:
    """The features of a serialized tf.Example by name: protobuf's map of Feature messages.

    Raises:
      ValueError: it is none.
    """
    from google.protobuf.message import DecodeError

    try:
        return _message().FromString(payload).features.feature
    except DecodeError:
        raise ValueError("is no tf.Example") from None


def parse(payload: bytes, image_shape: Shape) -> tuple[str, int]:
    """The id and the label of one of our records.

    Raises:
      ValueError: it is of another kind.
    """
    try:
        feature = features(payload)
        example_id = feature["id"].bytes_list.value[0].decode()
        pixels = feature["image"].bytes_list.value[0]
        label = feature["label"].int64_list.value[0]
    except (ValueError, IndexError):
        raise ValueError("has no id, image and label") from None
    size = math.prod(image_shape)
    if len(pixels) != size:
        raise ValueError(
            f"has {len(pixels)} bytes of pixels, {format_shape(image_shape)} needs {size}"
        )
    return example_id, label


def _message() -> Any:
    """The class of tf.Example messages: TensorFlow's, where that is imported, else TFDS's, which
    is the same and takes half a second."""
    if "tensorflow" in sys.modules:
        from tensorflow.core.example.example_pb2 import Example

        return Example
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example

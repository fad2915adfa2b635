"""Cuts image and label out of serialized tf.Examples, most of them without parsing.

The records of one dataset differ in their images and labels and share every other byte: names,
tags, lengths. Where those bytes are known to be the same, the image and the label stand where they
stood in a record that protobuf has parsed: the bytes of an image are opaque to the format, and a
label below 128 is one byte.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from components.data import tf_example
from components.ingest.ledger import Reason, UnusableError

# Of records that never look alike no more than this is learned, and kept.
_MOST_STENCILS = 4096

# Tags of length-delimited fields: (number << 3) | 2.
_FIELD_1, _FIELD_2, _FIELD_3 = 0x0A, 0x12, 0x1A


def parse(record: bytes) -> Any:
    """The features of a serialized tf.Example by name: protobuf's map of Feature messages.

    Raises:
      UnusableError: it is none.
    """
    try:
        return tf_example.features(record)
    except ValueError:
        raise UnusableError(Reason.UNDECODABLE, "not a tf.Example") from None


class FeatureExtractor:
    """Reads the image and the label of tf.Examples, exactly as protobuf would.

    Args:
      image_key: the feature that holds the image's bytes.
      label_key: the feature that holds the label, one int64; None: there is none.
    """

    def __init__(self, image_key: str, label_key: str | None):
        self._image_key = image_key
        self._label_key = label_key
        self._stencils: dict[int, ExampleTemplate | None] = {}  # By the record's length.

    def __call__(self, record: bytes) -> tuple[bytes, int | None]:
        """The image's bytes, and the label (None without a label feature).

        Raises:
          UnusableError: "not a tf.Example", "no image", or a label that is not one number.
        """
        stencil = self._stencils.get(len(record))
        if stencil is not None and (parts := stencil.cut(record)) is not None:
            return parts
        parts = self._parse(record)
        if len(record) not in self._stencils and len(self._stencils) < _MOST_STENCILS:
            stencil = _stencil(record, self._image_key, self._label_key)
            is_right = stencil is not None and stencil.cut(record) == parts
            self._stencils[len(record)] = stencil if is_right else None
        return parts

    def _parse(self, record: bytes) -> tuple[bytes, int | None]:
        feature = parse(record)
        images = feature[self._image_key].bytes_list.value
        if not images:
            raise UnusableError(Reason.UNDECODABLE, "no image")
        if self._label_key is None:
            return images[0], None
        labels = feature[self._label_key].int64_list.value
        if len(labels) != 1:
            raise UnusableError(Reason.BAD_LABEL, f"label {list(labels[:3])} is not one number")
        return images[0], labels[0]


class ExampleTemplate(NamedTuple):
    """Two spans that vary, of records of one length, and the three parts around them.

    Attributes:
      image: where the image begins and ends.
      label: where the label's byte stands, None if there is none.
      gaps: the spans in the order in which they stand: first begin and end, second begin and end.
      fixed: the bytes before, between and after the spans.
    """

    image: tuple[int, int]
    label: int | None
    gaps: tuple[int, int, int, int]
    fixed: tuple[bytes, bytes, bytes]

    def cut(self, record: bytes) -> tuple[bytes, int | None] | None:
        """Image and label of a record of the right length; None if its other bytes differ."""
        (start, end), at, (a, b, c, d), (head, middle, tail) = self
        if record[:a] != head or record[b:c] != middle or record[d:] != tail:
            return None
        if at is None:
            return record[start:end], None
        label = record[at]
        # From 128 on, a number takes more than this byte.
        return (record[start:end], label) if label < 128 else None


def _stencil(record: bytes, image_key: str, label_key: str | None) -> ExampleTemplate | None:
    """Where image and label stand in a record that protobuf has parsed.

    None where the record is written in an unusual way: a name that stands twice, a message merged
    from several pieces, an unknown field, a label that takes more than one byte or is not packed.
    """
    keys = [key.encode() for key in (image_key, label_key) if key is not None]
    found: dict[bytes, _Span] = {}
    try:
        # Example.features, and in it the entries of Features.feature, each a key and a value.
        (features,) = _fields(record, (0, len(record)), _FIELD_1)
        for tag, entry in _walk(record, features):
            (key, feature) = _fields(record, entry, _FIELD_1, _FIELD_2)
            name = record[slice(*key)]
            if tag != _FIELD_1 or name in found:
                return None
            if name in keys:
                found[name] = feature
        image_feature, *label_features = (found[key] for key in keys)
        # Feature.bytes_list, and the first BytesList.value.
        (images,) = _fields(record, image_feature, _FIELD_1)
        tag, image = next(_walk(record, images))
        label = None
        for label_feature in label_features:
            # Feature.int64_list, and the packed Int64List.value.
            (labels,) = _fields(record, label_feature, _FIELD_3)
            ((label, end),) = _fields(record, labels, _FIELD_1)
            if end != label + 1:
                return None
    except (ValueError, KeyError, StopIteration):
        return None
    if tag != _FIELD_1:
        return None
    after = (len(record), len(record))
    (a, b), (c, d) = sorted([image, after if label is None else (label, label + 1)])
    return ExampleTemplate(image, label, (a, b, c, d), (record[:a], record[b:c], record[d:]))


_Span = tuple[int, int]


def _fields(record: bytes, span: _Span, *tags: int) -> list[_Span]:
    """The contents of a message's fields. Raises ValueError unless they are just `tags`."""
    fields = list(_walk(record, span))
    if tuple(tag for tag, _ in fields) != tags:
        raise ValueError(f"other fields than {tags}")
    return [content for _, content in fields]


def _walk(record: bytes, span: _Span) -> Iterator[tuple[int, _Span]]:
    """The tag and content of each field. Raises ValueError at one that is not length-delimited."""
    place, end = span
    while place < end:
        if (tag := record[place]) not in (_FIELD_1, _FIELD_2, _FIELD_3):
            raise ValueError(f"unusual field {tag}")
        place += 1
        length, shift = 0, 0
        while (byte := record[place]) >= 128:
            length |= (byte & 127) << shift
            place, shift = place + 1, shift + 7
        length |= byte << shift
        place += 1
        yield tag, (place, place + length)
        place += length

"""Extracts the image and the label of serialized tf.Examples, mostly without parsing them.

The records of one dataset have the same features in the same order. Two records of the same length
usually differ only in the content of the image and in the value of the label; all other bytes
(names, tags and lengths of fields) are equal. An `ExampleTemplate` holds those fixed bytes and the
positions of the two that vary. A record that has the fixed bytes is sliced at these positions.

The result is exactly protobuf's. The first record of each length is parsed by protobuf. A later
record with the same fixed bytes has the same tags and lengths, so a parser would find the same
fields at the same positions: it does not look into the bytes of an image, and a label below 128 is
encoded in one byte. Every other record is parsed by protobuf. Slicing is more than twice as fast.

The templates of `components.data.codec` differ: they decode whole files of this project's records,
whose format is known, as matrices. The records here come from any writer, one by one.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from components.data import tf_example
from components.ingest.rejection import Reason, UnusableError

# A bound on memory, for datasets in which nearly every record has a different length.
_MAX_TEMPLATES = 4096

# Tags of length-delimited fields: (field number << 3) | wire type 2.
_FIELD_1, _FIELD_2, _FIELD_3 = 0x0A, 0x12, 0x1A

_Span = tuple[int, int]  # Start and end, in bytes of the record.


def parse(record: bytes) -> Any:
    """Parses a tf.Example into its features by name: protobuf's map of Feature messages.

    Raises:
      UnusableError: the record is not a tf.Example.
    """
    try:
        return tf_example.features(record)
    except ValueError:
        raise UnusableError(Reason.UNDECODABLE, "not a tf.Example") from None


class FeatureExtractor:
    """Extracts the image and the label of tf.Examples, with the same results as protobuf.

    Args:
      image_key: name of the feature that holds the encoded image.
      label_key: name of the feature that holds the label, one int64; None if there is no label.
    """

    def __init__(self, image_key: str, label_key: str | None):
        self._image_key = image_key
        self._label_key = label_key
        # By the length of the record; None where that record cannot be a template.
        self._templates: dict[int, ExampleTemplate | None] = {}

    def __call__(self, record: bytes) -> tuple[bytes, int | None]:
        """Returns the encoded image, and the label (None without a label feature).

        Raises:
          UnusableError: the record is not a tf.Example, does not have exactly one image, or has a
            label that is not one number.
        """
        template = self._templates.get(len(record))
        if template is not None and (features := template.extract(record)) is not None:
            return features
        features = self._parse(record)
        if len(record) not in self._templates and len(self._templates) < _MAX_TEMPLATES:
            template = _template_from(record, self._image_key, self._label_key)
            # A template must reproduce protobuf's result for the record it was made from.
            is_valid = template is not None and template.extract(record) == features
            self._templates[len(record)] = template if is_valid else None
        return features

    def _parse(self, record: bytes) -> tuple[bytes, int | None]:
        features = parse(record)
        images = features[self._image_key].bytes_list.value
        if not images:
            raise UnusableError(Reason.UNDECODABLE, "no image")
        if len(images) > 1:
            detail = f"{len(images)} images in one record; write one record per image"
            raise UnusableError(Reason.WRONG_TYPE, detail)
        if self._label_key is None:
            return images[0], None
        labels = features[self._label_key].int64_list.value
        if len(labels) != 1:
            raise UnusableError(Reason.BAD_LABEL, f"label {list(labels[:3])} is not one number")
        return images[0], labels[0]


class ExampleTemplate(NamedTuple):
    """The layout of records of the same length: two spans that vary, and three fixed parts.

    Attributes:
      image: start and end of the image's bytes.
      label: position of the label's only byte; None if there is no label.
      gaps: the two spans that vary, in the order of the record: start, end, start, end.
      fixed: the parts before, between and after the two spans.
    """

    image: tuple[int, int]
    label: int | None
    gaps: tuple[int, int, int, int]
    fixed: tuple[bytes, bytes, bytes]

    def extract(self, record: bytes) -> tuple[bytes, int | None] | None:
        """Slices image and label out of a record; None if the record does not match.

        Args:
          record: a record of the template's length.
        """
        # Locals, since this runs once per record of a dataset.
        (start, end), label_at, (a, b, c, d), (head, middle, tail) = self
        if record[:a] != head or record[b:c] != middle or record[d:] != tail:
            return None
        if label_at is None:
            return record[start:end], None
        label = record[label_at]
        # A byte from 128 on continues the varint: the number is longer than this byte.
        return (record[start:end], label) if label < 128 else None


def _template_from(record: bytes, image_key: str, label_key: str | None) -> ExampleTemplate | None:
    """Makes a template of a record that protobuf has parsed.

    Returns None if the record is encoded in an unusual way: a feature name occurs twice, a message
    is split into several that protobuf merges, a field is unknown, or the label is not packed or
    takes several bytes.
    """
    keys = [key.encode() for key in (image_key, label_key) if key is not None]
    features: dict[bytes, _Span] = {}
    try:
        # Example.features, and in it the entries of the map Features.feature: key and value.
        (entries,) = _contents(record, (0, len(record)), _FIELD_1)
        for tag, entry in _fields(record, entries):
            (key, feature) = _contents(record, entry, _FIELD_1, _FIELD_2)
            name = record[slice(*key)]
            if tag != _FIELD_1 or name in features:
                return None
            features[name] = feature
        image_feature, *label_features = (features[key] for key in keys)
        # Feature.bytes_list, and the only BytesList.value.
        (image_list,) = _contents(record, image_feature, _FIELD_1)
        (image,) = _contents(record, image_list, _FIELD_1)
        label = None
        for label_feature in label_features:
            # Feature.int64_list, and the packed Int64List.value.
            (label_list,) = _contents(record, label_feature, _FIELD_3)
            ((label, label_end),) = _contents(record, label_list, _FIELD_1)
            if label_end != label + 1:
                return None
    except (ValueError, KeyError):
        return None
    at_end = (len(record), len(record))  # Without a label, the second span is empty.
    (a, b), (c, d) = sorted([image, at_end if label is None else (label, label + 1)])
    return ExampleTemplate(image, label, (a, b, c, d), (record[:a], record[b:c], record[d:]))


def _contents(record: bytes, message: _Span, *tags: int) -> list[_Span]:
    """The spans of a message's fields. Raises ValueError unless their tags are exactly `tags`."""
    fields = list(_fields(record, message))
    if tuple(tag for tag, _ in fields) != tags:
        raise ValueError(f"the tags are not {tags}")
    return [content for _, content in fields]


def _fields(record: bytes, message: _Span) -> Iterator[tuple[int, _Span]]:
    """The tag and the span of the content of each field of a message.

    Raises:
      ValueError: a field is not a length-delimited one with the number 1, 2 or 3.
    """
    position, end = message
    while position < end:
        if (tag := record[position]) not in (_FIELD_1, _FIELD_2, _FIELD_3):
            raise ValueError(f"unexpected tag {tag}")
        position += 1
        # The length is a varint: 7 bits per byte, the lowest first; the last byte is below 128.
        length, shift = 0, 0
        while (byte := record[position]) >= 128:
            length |= (byte & 127) << shift
            position, shift = position + 1, shift + 7
        length |= byte << shift
        position += 1
        yield tag, (position, position + length)
        position += length

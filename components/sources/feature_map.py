"""Which features of a tf.Example hold the image, the label and the id, and how to read them."""

import contextlib
import dataclasses
import math
import re
from typing import Any

import numpy as np

from components.base.errors import ConfigError
from components.base.shapes import Shape, format_shape
from components.data.examples import CHANNELS
from components.ingest.rejection import Reason, UnusableError
from components.sources.escaping import escape
from components.sources.source import MAX_LABEL, NO_LABEL

_FEATURE_WITH_SHAPE = re.compile("(.+):([0-9]+)x([0-9]+)x([0-9]+)")

# Types of pixels that are not uint8, by their size in bytes.
_TYPES_BY_SIZE = {2: "uint16", 4: "float32", 8: "float64"}


@dataclasses.dataclass(frozen=True)
class FeatureMap:
    """Names of the features that hold the parts of an example.

    Attributes:
      image: feature with the image: an encoded file, or raw pixels if `shape` is given.
      shape: (height, width, channels) of raw pixels; None for encoded files.
      label: feature with the label, a number or a text; None if the images have no labels.
      id: feature with the id, a text; None to use the position of the record as its id.
    """

    image: str
    shape: Shape | None = None
    label: str | None = None
    id: str | None = None

    @staticmethod
    def parse(text: str) -> "FeatureMap":
        """Parses `image=FEATURE[:HxWxC],label=FEATURE,id=FEATURE`, where only `image` is required.

        Raises:
          ConfigError: the text is not of this form.
        """
        fields: dict[str, Any] = {}
        for part in text.split(","):
            key, _, feature = part.partition("=")
            if key not in ("image", "label", "id") or key in fields or not feature:
                raise _format_error(text, f"{part!r} is not understood")
            if "=" in feature:
                raise _format_error(text, f"{feature!r} holds a second '='")
            fields[key] = feature
        if "image" not in fields:
            raise _format_error(text, "image=FEATURE is missing")
        if match := _FEATURE_WITH_SHAPE.fullmatch(fields["image"]):
            height, width, channels = map(int, match.groups()[1:])
            if not height or not width or channels not in CHANNELS:
                raise _format_error(text, "HxWxC must be height, width and 1 or 3 channels")
            fields |= {"image": match[1], "shape": (height, width, channels)}
        return FeatureMap(**fields)

    def as_text(self) -> str:
        """The text that `parse` parses to this map."""
        shape = f":{format_shape(self.shape)}" if self.shape else ""
        optional = {"label": self.label, "id": self.id}
        parts = [f"{key}={feature}" for key, feature in optional.items() if feature is not None]
        return ",".join([f"image={self.image}{shape}", *parts])


def _format_error(text: str, detail: str) -> ConfigError:
    return ConfigError(
        f"--features must be image=FEATURE[:HxWxC],label=FEATURE,id=FEATURE, for example "
        f"image=image/encoded,label=image/class/label: {detail}. Received: {text!r}"
    )


def read_label(feature: Any, name: str) -> int | str:
    """Reads a record's label: a number, NO_LABEL, or an escaped text.

    Args:
      feature: the features of a record by name, as `example_template.parse` returns them.
      name: name of the feature with the label.

    Raises:
      UnusableError: the feature does not hold exactly one valid label.
    """
    numbers = feature[name].int64_list.value
    texts = feature[name].bytes_list.value
    if len(numbers) == 1 and (0 <= numbers[0] <= MAX_LABEL or numbers[0] == NO_LABEL):
        return numbers[0]
    with contextlib.suppress(UnicodeDecodeError):
        if len(texts) == 1 and texts[0]:
            return escape(texts[0].decode())
    if problem := type_problem(feature[name], name):
        raise UnusableError(Reason.BAD_LABEL, f"{problem}; labels are integers or texts")
    if (count := len(numbers) + len(texts)) > 1:
        values = str([*numbers[:3], *texts[:3]])[:60]
        raise UnusableError(
            Reason.BAD_LABEL, f"{count} values in feature {name!r}, not one label: {values}"
        )
    raise bad_label(name, [*numbers, *texts])


def bad_label(name: str, value: object) -> UnusableError:
    """The error for a feature `name` whose `value` is not a label."""
    return UnusableError(Reason.BAD_LABEL, f"no label in feature {name!r}: {str(value)[:60]}")


def type_problem(values: Any, name: str) -> str:
    """A description of a feature that holds floats, which nothing is read from; otherwise "".

    Args:
      values: a Feature message.
      name: name of the feature.
    """
    count = len(values.float_list.value)
    return f"{count:,} float{'s' * (count > 1)} in feature {name!r}" if count else ""


def read_id(feature: Any, name: str) -> str:
    """Reads a record's id, escaped. Raises UnusableError if there is none.

    Args:
      feature: the features of a record by name, as `example_template.parse` returns them.
      name: name of the feature with the id.
    """
    values = feature[name].bytes_list.value
    with contextlib.suppress(UnicodeDecodeError):
        if len(values) == 1 and values[0]:
            return escape(values[0].decode())
    raise UnusableError(Reason.UNDECODABLE, f"no id in feature {name!r}")


def read_image(feature: Any, name: str, shape: Shape | None) -> bytes:
    """Reads a record's image: an encoded file, or raw pixels row by row.

    Args:
      feature: the features of a record by name, as `example_template.parse` returns them.
      name: name of the feature with the image.
      shape: shape of raw pixels; None for an encoded file.

    Raises:
      UnusableError: there is not exactly one image, or its pixels do not have this shape.
    """
    values = feature[name].bytes_list.value
    numbers = feature[name].int64_list.value if shape else ()
    if len(values) > 1:
        detail = f"{len(values)} images in feature {name!r}; write one record per image"
        raise UnusableError(Reason.WRONG_TYPE, detail)
    if not values and not numbers:
        kind = "bytes" if shape is None else "pixels"
        problem = type_problem(feature[name], name)
        detail = problem and f": {problem}; write uint8 pixels as bytes"
        raise UnusableError(
            Reason.WRONG_TYPE if problem else Reason.UNDECODABLE,
            f"no {kind} in feature {name!r}{detail}",
        )
    if shape is None:
        return values[0]
    count = len(values[0]) if values else len(numbers)
    if count != math.prod(shape):
        raise UnusableError(
            Reason.WRONG_SHAPE,
            f"{count} pixel values in feature {name!r}, but {format_shape(shape)} has "
            f"{math.prod(shape)}{_size_hint(count, shape, is_bytes=bool(values))}",
        )
    if values:
        return values[0]
    # TFDS stores a uint8 tensor without an encoding as a list of numbers.
    pixels = np.fromiter(numbers, np.int64, count)
    if pixels.min() < 0 or pixels.max() > 255:
        raise UnusableError(Reason.WRONG_TYPE, f"values outside 0..255 in feature {name!r}")
    return pixels.astype(np.uint8).tobytes()


def _size_hint(count: int, shape: Shape, *, is_bytes: bool) -> str:
    """What raw pixels may be, from their number of values as uint8, or ""."""
    ratio, remainder = divmod(count, math.prod(shape))
    if remainder:
        return ""
    if is_bytes and (types := _TYPES_BY_SIZE.get(ratio)):
        return f": {ratio} bytes per value, {types}? Write them as uint8, scaled to 0..255"
    if ratio * shape[2] in CHANNELS:
        return f": {format_shape((*shape[:2], ratio * shape[2]))}?"
    return ""

"""Which features of a tf.Example hold the image, the label and the id, and how to read them."""

import contextlib
import dataclasses
import functools
import math
import re
from typing import Any

import numpy as np

from components.base.errors import ConfigError
from components.base.shapes import Shape, format_shape
from components.data.examples import CHANNELS
from components.ingest.conversion import MAX_PIXELS
from components.ingest.rejection import Reason, UnusableError
from components.sources.escaping import escape
from components.sources.source import MAX_LABEL, NO_LABEL

PIXEL_TYPES = ("uint8", "uint16", "float32", "float64")
MAX_TEXT = 1024  # Largest length in bytes of a label or an id that is text.

_FEATURE_WITH_SHAPE = re.compile("(.+?)(?::([a-z]+[0-9]+))?:([0-9]+)x([0-9]+)x([0-9]+)")
_FEATURE_WITH_TYPE = re.compile(f"(.+):({'|'.join(PIXEL_TYPES)})")
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
      pixel_type: type of raw pixels, one of PIXEL_TYPES, little-endian; floats are from 0 to 1.
      channels_first: whether raw pixels are stored as [channels, height, width].
    """

    image: str
    shape: Shape | None = None
    label: str | None = None
    id: str | None = None
    pixel_type: str = "uint8"
    channels_first: bool = False

    @staticmethod
    def parse(text: str) -> "FeatureMap":
        """Parses `image=FEATURE[[:TYPE]:HxWxC],label=FEATURE,id=FEATURE`.

        Only `image` is required. The shape may be CxHxW too: if only its first number can be the
        number of channels, it is.

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
            sizes = tuple(map(int, match.groups()[2:]))
            channels_first = sizes[0] in CHANNELS and sizes[2] not in CHANNELS
            height, width, channels = (*sizes[1:], sizes[0]) if channels_first else sizes
            if not height or not width or channels not in CHANNELS:
                raise _format_error(text, "HxWxC must be height, width and 1 or 3 channels")
            if height * width > MAX_PIXELS:
                raise _format_error(text, f"an image may have at most {MAX_PIXELS:,} pixels")
            pixel_type = match[2] or "uint8"
            if pixel_type not in PIXEL_TYPES:
                types = ", ".join(PIXEL_TYPES)
                raise _format_error(text, f"{pixel_type!r} is not a type of pixels ({types})")
            fields |= {"image": match[1], "shape": (height, width, channels)}
            fields |= {"pixel_type": pixel_type, "channels_first": channels_first}
        elif match := _FEATURE_WITH_TYPE.fullmatch(fields["image"]):
            raise _format_error(text, f"pixels of the type {match[2]} need a shape, HxWxC or CxHxW")
        return FeatureMap(**fields)

    def as_text(self) -> str:
        """The text that `parse` parses to this map."""
        shape = f":{self.stored_shape_text}" if self.shape else ""
        if self.pixel_type != "uint8":
            shape = f":{self.pixel_type}{shape}"
        optional = {"label": self.label, "id": self.id}
        parts = [f"{key}={feature}" for key, feature in optional.items() if feature is not None]
        return ",".join([f"image={self.image}{shape}", *parts])

    @property
    def stored_shape_text(self) -> str:
        """The shape of raw pixels in the files, as `parse` reads it."""
        return format_shape(self._stored_shape)

    @property
    def _stored_shape(self) -> Shape:
        height, width, channels = self._raw_shape
        return (channels, height, width) if self.channels_first else (height, width, channels)

    @property
    def _raw_shape(self) -> Shape:
        if self.shape is None:
            raise ValueError(f"{self.as_text()} holds encoded images, not raw pixels")
        return self.shape

    @property
    def raw_dtype(self) -> np.dtype:
        """The type of raw pixels in the files."""
        return np.dtype(self.pixel_type).newbyteorder("<")

    @functools.cached_property
    def raw_bytes(self) -> int:
        """The size of the raw pixels of an image in the files, in bytes."""
        return math.prod(self._raw_shape) * self.raw_dtype.itemsize

    def decode_raw(self, data: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Decodes the raw pixels of N images.

        Args:
          data: N times `raw_bytes` bytes.

        Returns:
          The pixels, uint8 or uint16, shape [N, height, width, channels]; and whether the values of
          each image are valid, bool, shape [N].
        """
        pixels = np.frombuffer(data, self.raw_dtype).reshape(-1, *self._stored_shape)
        if self.channels_first:
            pixels = np.ascontiguousarray(np.moveaxis(pixels, 1, 3))
        if pixels.dtype.kind != "f":
            return pixels, np.ones(len(pixels), bool)
        # All comparisons with NaN are false.
        is_valid = np.all((pixels >= 0) & (pixels <= 1), axis=(1, 2, 3))
        scaled = np.where(is_valid[:, None, None, None], pixels, 0) * 255
        return np.rint(scaled).astype(np.uint8), is_valid


def _format_error(text: str, detail: str) -> ConfigError:
    return ConfigError(
        "--features must be image=FEATURE[[:TYPE]:HxWxC],label=FEATURE,id=FEATURE, for example "
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
        if len(texts) == 1 and 0 < len(texts[0]) <= MAX_TEXT:
            return escape(texts[0].decode())
    if problem := type_problem(feature[name], name):
        raise UnusableError(Reason.BAD_LABEL, f"{problem}; labels are integers or texts")
    # A text may be as long as the memory; its beginning is shown.
    values: list[object] = [*numbers[:3], *(text[:60] for text in texts[:3])]
    if (count := len(numbers) + len(texts)) > 1:
        raise UnusableError(
            Reason.BAD_LABEL,
            f"{count} values in feature {name!r}, not one label: {str(values)[:60]}",
        )
    raise bad_label(name, values)


def bad_label(name: str, value: object) -> UnusableError:
    """The error for a feature `name` whose `value` is not a label."""
    return UnusableError(Reason.BAD_LABEL, f"no label in feature {name!r}: {str(value)[:60]}")


def type_problem(values: Any, name: str) -> str:
    """A description of a feature that holds floats, which are not supported; otherwise "".

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
        if len(values) == 1 and 0 < len(values[0]) <= MAX_TEXT:
            return escape(values[0].decode())
    raise UnusableError(Reason.UNDECODABLE, f"no id in feature {name!r}")


def read_image(feature: Any, features: FeatureMap) -> bytes:
    """Reads a record's image: an encoded file, or raw pixels as the files hold them.

    Args:
      feature: the features of a record by name, as `example_template.parse` returns them.
      features: which of them is the image, and its type and shape.

    Raises:
      UnusableError: there is not exactly one image, or its pixels do not have this type and shape.
    """
    name, shape = features.image, features.shape
    is_float = features.raw_dtype.kind == "f"
    values = feature[name].bytes_list.value
    numbers: Any = ()
    if shape is not None:
        # TFDS stores a uint8 tensor without an encoding as a list of numbers, and others floats.
        numbers = (feature[name].float_list if is_float else feature[name].int64_list).value
    if len(values) > 1:
        detail = f"{len(values)} images in feature {name!r}; write one record per image"
        raise UnusableError(Reason.WRONG_TYPE, detail)
    if not values and not numbers:
        raise _no_image_error(feature[name], features)
    if shape is None:
        return values[0]
    count = len(values[0]) if values else len(numbers)
    if count != (features.raw_bytes if values else math.prod(shape)):
        raise _size_error(count, features, shape, is_bytes=bool(values))
    if values:
        return values[0]
    if is_float:
        return np.fromiter(numbers, features.raw_dtype, count).tobytes()
    pixels = np.fromiter(numbers, np.int64, count)
    highest = np.iinfo(features.raw_dtype).max
    if pixels.min() < 0 or pixels.max() > highest:
        raise bad_values(features, f"0..{highest}")
    return pixels.astype(features.raw_dtype).tobytes()


def bad_values(features: FeatureMap, valid: str) -> UnusableError:
    """The error for raw pixels with values outside the `valid` ones."""
    detail = f"values outside {valid} in feature {features.image!r}"
    return UnusableError(Reason.WRONG_TYPE, detail)


def _no_image_error(values: Any, features: FeatureMap) -> UnusableError:
    """The error for a feature, `values`, without bytes and without numbers of the given type."""
    name = features.image
    kind = "bytes" if features.shape is None else "pixels"
    if problem := type_problem(values, name):
        detail = (
            f"no {kind} in feature {name!r}: {problem}; if these are pixels from 0 to 1, pass "
            f"image={name}:float32:HEIGHTxWIDTHxCHANNELS"
        )
        return UnusableError(Reason.WRONG_TYPE, detail)
    return UnusableError(Reason.UNDECODABLE, f"no {kind} in feature {name!r}")


def _size_error(count: int, features: FeatureMap, shape: Shape, *, is_bytes: bool) -> UnusableError:
    """The error for raw pixels that have `count` bytes or numbers, with what they may be."""
    is_uint8 = features.pixel_type == "uint8"
    what = "bytes" if is_bytes and not is_uint8 else "pixel values"
    expected = features.raw_bytes if is_bytes else math.prod(shape)
    full_type = format_shape(shape) if is_uint8 else f"{features.pixel_type} {format_shape(shape)}"
    hint = ""
    ratio, remainder = divmod(count, expected)
    if not remainder and is_uint8:
        if is_bytes and (types := _TYPES_BY_SIZE.get(ratio)):
            stored = features.stored_shape_text
            hint = (
                f": {ratio} bytes per value, {types}? Then pass "
                f"image={features.image}:{types}:{stored}"
            )
        elif ratio * shape[2] in CHANNELS:
            hint = f": {format_shape((*shape[:2], ratio * shape[2]))}?"
    return UnusableError(
        Reason.WRONG_SHAPE,
        f"{count} {what} in feature {features.image!r}, but {full_type} has {expected}{hint}",
    )

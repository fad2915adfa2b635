"""Which features of a tf.Example hold the image, the label and the id, and what they hold."""

import contextlib
import dataclasses
import math
import re
from typing import Any

import numpy as np

from components.base.errors import ConfigError
from components.base.shapes import format_shape
from components.data.examples import CHANNELS
from components.ingest.ledger import Reason, UnusableError
from components.sources.escaping import printable
from components.sources.source import MAX_LABEL

_SHAPED = re.compile("(.+):([0-9]+)x([0-9]+)x([0-9]+)")


@dataclasses.dataclass(frozen=True)
class FeatureMap:
    """Which features of a tf.Example hold what.

    Attributes:
      image: the image: an encoded file, or raw pixels if there is a shape.
      shape: (height, width, channels) of raw pixels.
      label: the label, a number or a text; None: the images have none.
      id: the id, a text; None: the record's place is its id.
    """

    image: str
    shape: tuple[int, int, int] | None = None
    label: str | None = None
    id: str | None = None

    @staticmethod
    def parse(text: str) -> "FeatureMap":
        """The map that `image=FEATURE[:HxWxC],label=FEATURE,id=FEATURE` means.

        Raises:
          ConfigError: the text is no such map.
        """
        fields: dict[str, Any] = {}
        for part in text.split(","):
            key, _, feature = part.partition("=")
            if key not in ("image", "label", "id") or key in fields or not feature:
                raise _unusable(text, f"{part!r} is not understood")
            if "=" in feature:
                raise _unusable(text, f"{feature!r} holds a second '='")
            fields[key] = feature
        if "image" not in fields:
            raise _unusable(text, "it names no image")
        if shaped := _SHAPED.fullmatch(fields["image"]):
            height, width, channels = map(int, shaped.groups()[1:])
            if not height or not width or channels not in CHANNELS:
                raise _unusable(text, "HxWxC are height, width and 1 or 3 channels")
            fields |= {"image": shaped[1], "shape": (height, width, channels)}
        return FeatureMap(**fields)

    def as_text(self) -> str:
        """What `parse` makes this map of."""
        shape = f":{format_shape(self.shape)}" if self.shape else ""
        others = {"label": self.label, "id": self.id}
        named = [f"{key}={feature}" for key, feature in others.items() if feature is not None]
        return ",".join([f"image={self.image}{shape}", *named])


def _unusable(text: str, why: str) -> ConfigError:
    return ConfigError(
        f"--features must be image=FEATURE[:HxWxC],label=FEATURE,id=FEATURE, for example "
        f"image=image/encoded,label=image/class/label: {why}. Received: {text!r}"
    )


def label_of(feature: Any, name: str) -> int | str:
    """What stands as the label in a record. Raises UnusableError where it can be none."""
    numbers = feature[name].int64_list.value
    texts = feature[name].bytes_list.value
    if len(numbers) == 1 and 0 <= numbers[0] <= MAX_LABEL:
        return numbers[0]
    with contextlib.suppress(UnicodeDecodeError):
        if len(texts) == 1 and texts[0]:
            return printable(texts[0].decode())
    raise no_label(name, [*numbers[:3], *texts[:3]])


def no_label(name: str, found: object) -> UnusableError:
    """That `found` in the feature `name` is no label."""
    return UnusableError(Reason.BAD_LABEL, f"no label in feature {name!r}: {str(found)[:60]}")


def id_of(feature: Any, name: str) -> str:
    """A record's own id. Raises UnusableError where it has none."""
    values = feature[name].bytes_list.value
    with contextlib.suppress(UnicodeDecodeError):
        if len(values) == 1 and values[0]:
            return printable(values[0].decode())
    raise UnusableError(Reason.UNDECODABLE, f"no id in feature {name!r}")


def image_of(feature: Any, name: str, shape: tuple[int, int, int] | None) -> bytes:
    """An encoded image, or raw pixels row by row. Raises UnusableError where there are none."""
    values = feature[name].bytes_list.value
    if shape is None:
        if not values:
            raise UnusableError(Reason.UNDECODABLE, f"no bytes in feature {name!r}")
        return values[0]
    numbers = feature[name].int64_list.value
    if not values and not numbers:
        raise UnusableError(Reason.UNDECODABLE, f"no pixels in feature {name!r}")
    held = len(values[0]) if values else len(numbers)
    if held != math.prod(shape):
        raise UnusableError(
            Reason.WRONG_SHAPE,
            f"{held} pixel values in feature {name!r}, {format_shape(shape)} is {math.prod(shape)}",
        )
    if values:
        return values[0]
    # As TFDS stores a uint8 tensor without an encoding.
    pixels = np.fromiter(numbers, np.int64, held)
    if pixels.min() < 0 or pixels.max() > 255:
        raise UnusableError(Reason.WRONG_TYPE, f"values outside 0..255 in feature {name!r}")
    return pixels.astype(np.uint8).tobytes()

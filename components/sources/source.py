"""The interface of all sources of images, and what their implementations share."""

import dataclasses
import math
import os
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from etils import epath

from components.base.manifest import Input
from components.data.examples import ExampleBatch
from components.ingest.conversion import Conversion
from components.ingest.convert import convert_all
from components.ingest.decode import ShapeGroup, decode_all
from components.ingest.frames import count_frames
from components.ingest.rejection import Rejected, UnusableError

# A batch of small images is limited by their number, a batch of large images by its bytes.
BATCH_EXAMPLES = 8192
BATCH_BYTES = 16 << 20
UNLABELLED = "unlabelled"  # name of the class of images without a label
NO_LABEL = -1  # the label of images without one in STL-10 and many other datasets
MAX_LABEL = 65_535

_SPLIT_BY_NAME = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "t10k"), "test"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """A part of a source that is read by one worker as a unit.

    Attributes:
      split: name of the source's split that the inputs belong to.
      name: where the inputs are: a file's name relative to the source, or a label for messages.
      first: index of the first input within the split.
      examples: number of inputs.
      files: names of the inputs relative to the source, if each input is a separate file.
    """

    split: str
    name: str
    first: int
    examples: int
    files: tuple[str, ...] = ()


class EncodedExample(NamedTuple):
    """An example before its image is decoded.

    Attributes:
      id: the example's id.
      label: the example's label.
      data: an encoded image file, or raw pixels if the source knows their shape.
    """

    id: str
    label: int
    data: bytes


@dataclasses.dataclass(frozen=True)
class FirstFrames(ExampleBatch):
    """Examples some of which are the first frame of a file with several frames.

    Attributes:
      several_frames: ids of these examples.
    """

    several_frames: frozenset[str] = frozenset()

    def take(self, rows: np.ndarray) -> "FirstFrames":
        """The examples with the indices `rows`, in that order, copied."""
        taken = super().take(rows)
        several_frames = self.several_frames.intersection(taken.ids)
        return FirstFrames(taken.ids, taken.images, taken.labels, several_frames)


class Source(Protocol):
    """A picklable object that divides a dataset into slices and reads them on any worker."""

    @property
    def name(self) -> str:
        """The dataset's name in the names of the output files."""

    @property
    def input(self) -> Input:
        """The path and the fingerprint of the images. Needs neither TensorFlow nor TFDS."""

    def fingerprint_without(self, ids: Collection[str]) -> str:
        """The fingerprint without the inputs `ids`, if each input is a separate file.

        Sources that store many inputs per file return the whole fingerprint.
        """

    @property
    def settings(self) -> dict[str, Any]:
        """The user's settings of this source, as JSON values for the manifest."""

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; a label is an index into them."""

    @property
    def num_examples(self) -> Mapping[str, int]:
        """Number of inputs by split: `train`, `validation` and `test`, those that exist."""

    def slices(self) -> list[Slice]:
        """All slices of the source, in the same order at every call."""

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        """Reads a slice.

        Yields:
          Batches of images of the same shape, and rejected inputs. Each input of the slice is
          yielded exactly once.

        Raises:
          WorkError: a file that holds many images is damaged; the message names the file and the
            place in it.
        """


class IndivisibleFingerprint:
    """Mixin for sources that store many inputs per file.

    Their fingerprint covers whole files, so it cannot leave out single inputs.
    """

    def fingerprint_without(self: Source, ids: Collection[str]) -> str:
        return self.input.fingerprint


def example_id(split: str, index: int) -> str:
    """The id of an example that is identified by its split and its index within the split."""
    return f"{split}-{index:08d}"


def split_from_name(name: str) -> str | None:
    """The split that a folder or a part of a file name stands for: `val` -> `validation`.

    Full-width letters and other forms of one letter count as that letter: `ｔｅｓｔ` is `test`.
    """
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name)
    return _SPLIT_BY_NAME.get(name.casefold())


def folder_name(folder: epath.Path) -> str:
    """The last part of a folder's absolute path, so that `.` has a name too."""
    return os.path.basename(os.path.abspath(folder))


def images_per_batch(shape: tuple[int, ...], image_bytes: int, conversion: Conversion) -> int:
    """Number of images in a batch of at most BATCH_BYTES before and after conversion.

    Args:
      shape: shape of an image in the source, [height, width] or [height, width, channels].
      image_bytes: size of an image in the source, in bytes.
      conversion: size and channels that the images are converted to.
    """
    height, width = conversion.image_size or shape[:2]
    channels = conversion.channels or math.prod(shape[2:])
    return max(1, min(BATCH_EXAMPLES, BATCH_BYTES // max(image_bytes, height * width * channels)))


def convert_batch(
    split: str,
    ids: Sequence[str],
    pixels: np.ndarray,
    labels: np.ndarray,
    conversion: Conversion,
) -> Iterator[ExampleBatch | Rejected]:
    """Converts images of the same shape to one batch; rejects them all if they cannot be converted.

    Args:
      split: name of the split, for rejected inputs.
      ids: N ids.
      pixels: shape [N, height, width] or [N, height, width, channels].
      labels: integers, shape [N].
      conversion: size and channels to convert the images to.
    """
    labels = labels.astype(np.int64)
    try:
        converted = convert_all(pixels, conversion)
    except UnusableError as error:
        for key, label in zip(ids, labels.tolist(), strict=True):
            yield Rejected(key, split, label, error.reason, str(error))
    else:
        yield ExampleBatch(list(ids), converted, labels)


def decode_batches(
    split: str, inputs: Iterable[EncodedExample | Rejected], conversion: Conversion
) -> Iterator[ExampleBatch | Rejected]:
    """Decodes encoded images and groups them into batches of one shape each.

    Memory is bounded: about BATCH_BYTES of encoded images, and about BATCH_BYTES of decoded images
    of each shape. A batch with images of files that hold several frames is a `FirstFrames`.

    Args:
      split: name of the split, for rejected inputs.
      inputs: the encoded images; rejected inputs are passed on.
      conversion: size and channels to convert the images to.
    """
    encoded: list[EncodedExample] = []
    size = 0
    for item in inputs:
        if isinstance(item, Rejected):
            yield item
            continue
        encoded.append(item)
        size += len(item.data)
        if len(encoded) == BATCH_EXAMPLES or size >= BATCH_BYTES:
            yield from _decode(split, encoded, conversion)
            encoded, size = [], 0
    yield from _decode(split, encoded, conversion)


def _decode(
    split: str, encoded: list[EncodedExample], conversion: Conversion
) -> Iterator[ExampleBatch | Rejected]:
    for decoded in decode_all([item.data for item in encoded], conversion, BATCH_BYTES):
        if isinstance(decoded, ShapeGroup):
            items = [encoded[row] for row in decoded.rows]
            labels = np.array([item.label for item in items], np.int64)
            ids = [item.id for item in items]
            several_frames = frozenset(item.id for item in items if count_frames(item.data) > 1)
            if several_frames:
                yield FirstFrames(ids, decoded.images, labels, several_frames)
            else:
                yield ExampleBatch(ids, decoded.images, labels)
        else:
            row, error = decoded
            item = encoded[row]
            yield Rejected(item.id, split, item.label, error.reason, str(error))

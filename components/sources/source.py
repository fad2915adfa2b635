"""What every source of images is and does."""

import dataclasses
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from components.base.artifacts import Input
from components.data.examples import ExampleBatch
from components.ingest import images
from components.ingest.conversion import Conversion
from components.ingest.ledger import Rejected, UnusableError

# Small images are decoded this many at a time; a block of large ones is cut by its bytes.
BLOCK_EXAMPLES = 8192
BLOCK_BYTES = 16 << 20
UNLABELLED = "unlabelled"  # the class of images that have none
MAX_LABEL = 65_535

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "t10k"), "test"),
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """A part of a source that one worker reads at a time.

    Attributes:
      split: the source's own split.
      name: what is read: a file's name, relative to the source; a block's number.
      first: the index within the split of the slice's first input.
      examples: how many inputs it holds.
      files: the inputs themselves, where each is a file of its own.
    """

    split: str
    name: str
    first: int
    examples: int
    files: tuple[str, ...] = ()


class Encoded(NamedTuple):
    """An input whose image is still an encoded file."""

    id: str
    label: int
    data: bytes


class Source(Protocol):
    """A picklable object that names its slices and reads one at a time, on any worker."""

    @property
    def name(self) -> str:
        """The dataset's name, as it stands in file names."""

    @property
    def input(self) -> Input:
        """Where the images lie and a digest of them; answers without TensorFlow or TFDS."""

    def fingerprint_without(self, ids: Collection[str]) -> str:
        """A digest of all inputs but some, if each is a file of its own; else of the whole."""

    @property
    def settings(self) -> dict[str, Any]:
        """What a user can set of it; JSON values, for the manifest."""

    @property
    def class_names(self) -> list[str]:
        """The label's names, by label."""

    @property
    def num_examples(self) -> Mapping[str, int]:
        """Inputs by split: `train`, and `validation` and `test` where the source has them."""

    def slices(self) -> list[Slice]:
        """All of the source, in parts; the same in the same order at every call."""

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        """Blocks of one shape each, and what could not be read, each input exactly once.

        Raises:
          WorkError: the file is damaged; names it and the record.
        """


class UnlistedInputs:
    """A source whose inputs are no files of their own: nothing can be left out of its digest."""

    def fingerprint_without(self: Source, ids: Collection[str]) -> str:
        return self.input.fingerprint


def example_id(split: str, index: int) -> str:
    """The stable id of a source's example: its split and its place in it."""
    return f"{split}-{index:08d}"


def split_named(name: str) -> str | None:
    """The split that a folder or part of a file name means: `val` -> `validation`."""
    return _SPLITS.get(name.lower())


def images_per_block(shape: tuple[int, ...], image_bytes: int, conversion: Conversion) -> int:
    """How many images make a block, whether more is read for it or more comes out.

    Args:
      shape: of an image as it is read, [height, width] or [height, width, channels].
      image_bytes: of it.
      conversion: what it is turned into.
    """
    height, width = conversion.image_size or shape[:2]
    channels = conversion.channels or math.prod(shape[2:])
    return max(1, min(BLOCK_EXAMPLES, BLOCK_BYTES // max(image_bytes, height * width * channels)))


def convert_block(
    split: str,
    ids: Sequence[str],
    pixels: np.ndarray,
    labels: np.ndarray,
    conversion: Conversion,
) -> Iterator[ExampleBatch | Rejected]:
    """The images of one shape, shape [N, ...], as one block; where that cannot be, all rejected."""
    labels = labels.astype(np.int64)
    try:
        converted = images.convert_all(pixels, conversion)
    except UnusableError as error:
        for key, label in zip(ids, labels.tolist(), strict=True):
            yield Rejected(key, split, label, error.reason, str(error))
    else:
        yield ExampleBatch(list(ids), converted, labels)


def decode_blocks(
    split: str, inputs: Iterable[Encoded | Rejected], conversion: Conversion
) -> Iterator[ExampleBatch | Rejected]:
    """Decodes encoded images as they come, gathered to blocks of one shape each.

    Memory is bounded: by the inputs of one batch and by a block of each shape among them.
    """
    batch: list[Encoded] = []
    size = 0
    for item in inputs:
        if isinstance(item, Rejected):
            yield item
            continue
        batch.append(item)
        size += len(item.data)
        if len(batch) == BLOCK_EXAMPLES or size >= BLOCK_BYTES:
            yield from _decode_batch(split, batch, conversion)
            batch, size = [], 0
    yield from _decode_batch(split, batch, conversion)


def _decode_batch(
    split: str, batch: list[Encoded], conversion: Conversion
) -> Iterator[ExampleBatch | Rejected]:
    for decoded in images.decode_all([item.data for item in batch], conversion, BLOCK_BYTES):
        if isinstance(decoded, images.ShapeGroup):
            members = [batch[row] for row in decoded.rows]
            labels = np.array([item.label for item in members], np.int64)
            yield ExampleBatch([item.id for item in members], decoded.images, labels)
        else:
            row, error = decoded
            item = batch[row]
            yield Rejected(item.id, split, item.label, error.reason, str(error))

"""Sources whose images lie side by side in one array per split, all of one shape."""

import abc
import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from components import files, images
from components.artifacts import Input, fingerprint
from components.conversion import Conversion
from components.errors import ConfigError, WorkError
from components.examples import Block
from components.ledger import Reason, Rejected
from components.sources.base import (
    BLOCK_BYTES,
    BLOCK_EXAMPLES,
    MAX_LABEL,
    UNLABELLED,
    Slice,
    example_id,
)
from components.sources.stored import Array

SLICE_BYTES = 32 << 20

_CHANNELS = (1, 2, 3, 4)  # grey or colours, with alpha or without


def check_images(array: Array) -> None:
    """Raises ConfigError unless an array's type and shape are those of images."""
    if array.dtype.kind not in "bu" or array.dtype.itemsize > 2:
        raise ConfigError(
            f"{array.name} holds {array.dtype.name} images; bring them to 0..255 and save them as "
            "uint8"
        )
    shape = array.shape
    if len(shape) == 4 and shape[1] in _CHANNELS and shape[3] not in _CHANNELS:
        raise ConfigError(
            f"{array.name} has shape {shape}, channels first; save it again after "
            "np.moveaxis(images, 1, -1)"
        )
    channels = shape[3] if len(shape) == 4 else 1
    if len(shape) not in (3, 4) or 0 in shape[1:] or channels not in _CHANNELS:
        raise ConfigError(
            f"{array.name} has shape {shape}; images have [N, height, width] or "
            "[N, height, width, 1 to 4]"
        )
    if shape[1] * shape[2] > images.MAX_PIXELS:
        raise ConfigError(
            f"{array.name} has shape {shape}; images have at most {images.MAX_PIXELS} pixels"
        )


def read_labels(labels: Array, split_images: Array) -> np.ndarray:
    """The labels of a split's images: integers, shape [N, ...].

    Raises:
      ConfigError: they are no integers.
      WorkError: there are more or fewer than images, or the file is damaged.
    """
    if labels.dtype.kind not in "biu":
        raise ConfigError(f"{labels.name} holds {labels.dtype.name} labels; save them as integers")
    if labels.rows != split_images.rows:
        raise WorkError(
            f"{labels.name} holds {labels.rows} labels, {split_images.name} {split_images.rows} "
            "images; restore the one that is wrong"
        )
    return labels.read()


@dataclasses.dataclass(frozen=True)
class Split:
    """A split's images and labels.

    Attributes:
      images: of uint8, uint16 or bool.
      labels: integers, shape [N]; None where it has none.
    """

    images: Array
    labels: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class StackedSource(abc.ABC):
    """A source with one array of images per split.

    Attributes:
      path: what the user named.
      conversion: what the images are turned into.
    """

    path: epath.Path
    conversion: Conversion = dataclasses.field(default_factory=Conversion)

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The dataset's name, as it stands in file names."""

    @property
    @abc.abstractmethod
    def _files(self) -> Sequence[epath.Path]:
        """The files that are read, in order."""

    @property
    @abc.abstractmethod
    def _splits(self) -> Mapping[str, Split]:
        """By split: the headers of its images, and its labels."""

    @property
    def input(self) -> Input:
        return Input(self.path, fingerprint([(f.name, *files.status(f)) for f in self._files]))

    @property
    def settings(self) -> dict[str, Any]:
        return self.conversion.as_json()

    @property
    def class_names(self) -> list[str]:
        """The numbers up to the highest label; then, if a split has no labels, `unlabelled`."""
        names: list[str] = []
        for split in self._splits.values():
            if split.labels is not None:
                classes = split.labels[_usable(split.labels)]
                highest = int(classes.max()) if len(classes) else -1
                names += map(str, range(len(names), highest + 1))
        unlabelled = any(split.labels is None for split in self._splits.values())
        return [*names, UNLABELLED] if unlabelled else names

    @property
    def num_examples(self) -> Mapping[str, int]:
        return {name: split.images.rows for name, split in self._splits.items()}

    def slices(self) -> list[Slice]:
        parts = []
        for name, split in self._splits.items():
            array = split.images
            step = max(1, SLICE_BYTES // array.row_bytes if array.cuttable else array.rows)
            for first in range(0, array.rows, step):
                file = f"{array.path.name}:{array.member}" if array.member else array.path.name
                parts.append(Slice(name, file, first, min(step, array.rows - first)))
        return parts

    def read(self, part: Slice) -> Iterator[Block | Rejected]:
        split = self._splits[part.split]
        unlabelled = len(self.class_names) - 1
        first = part.first
        at_a_time = self._images_at_a_time(split.images)
        for pixels in split.images.blocks(part.first, part.examples, at_a_time):
            rows = slice(first, first + len(pixels))
            ids = [example_id(part.split, row) for row in range(rows.start, rows.stop)]
            if split.labels is None:
                labels = np.full(len(pixels), unlabelled)
            else:
                labels = split.labels[rows]
            yield from self._convert(part.split, ids, pixels, labels)
            first = rows.stop

    def _images_at_a_time(self, array: Array) -> int:
        """As many as make one block, whether more is read for it or more comes out."""
        height, width = self.conversion.image_size or array.shape[1:3]
        channels = self.conversion.channels or math.prod(array.shape[3:])
        image_bytes = max(array.row_bytes, height * width * channels)
        return max(1, min(BLOCK_EXAMPLES, BLOCK_BYTES // image_bytes))

    def _convert(
        self, split: str, ids: list[str], pixels: np.ndarray, labels: np.ndarray
    ) -> Iterator[Block | Rejected]:
        usable = _usable(labels)
        for row in np.flatnonzero(~usable):
            detail = f"label {labels[row]} is outside 0..{MAX_LABEL}"
            yield Rejected(ids[row], split, None, Reason.BAD_LABEL, detail)
        if not usable.any():
            return
        if not usable.all():
            ids = [ids[row] for row in np.flatnonzero(usable)]
            pixels, labels = pixels[usable], labels[usable]
        try:
            converted = images.convert_all(pixels, self.conversion)
        except images.ImageError as error:
            for example_id_, label in zip(ids, labels, strict=True):
                yield Rejected(example_id_, split, int(label), error.reason, str(error))
        else:
            yield Block(ids, converted, labels.astype(np.int64))


def _usable(labels: np.ndarray) -> np.ndarray:
    """Which labels can be classes; bool, shape [N]."""
    return (labels >= 0) & (labels <= MAX_LABEL)


def folder_name(folder: epath.Path) -> str:
    """A folder's own name, however the path to it is written."""
    return os.path.basename(os.path.abspath(folder))

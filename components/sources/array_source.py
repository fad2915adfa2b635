"""Sources whose images lie side by side in one array per split, all of one shape."""

import abc
import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base import files
from components.base.artifacts import Input, fingerprint
from components.base.errors import ConfigError, WorkError
from components.data.examples import SPLITS, ExampleBatch
from components.ingest import images
from components.ingest.conversion import Conversion
from components.ingest.ledger import Reason, Rejected
from components.sources.array_file import StoredArray
from components.sources.source import (
    MAX_LABEL,
    UNLABELLED,
    Slice,
    UnlistedInputs,
    convert_block,
    example_id,
    images_per_block,
)

SLICE_BYTES = 32 << 20  # at most
_LEAST_SLICE_BYTES = 8 << 20
_SLICES = 64

_CHANNELS = (1, 2, 3, 4)  # grey or colours, with alpha or without


def _check_images(array: StoredArray) -> None:
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


def _check_labels(labels: StoredArray, split_images: StoredArray) -> None:
    """Raises ConfigError unless they are integers, WorkError unless as many as the images."""
    if labels.dtype.kind not in "biu":
        raise ConfigError(f"{labels.name} holds {labels.dtype.name} labels; save them as integers")
    if labels.rows != split_images.rows:
        raise WorkError(
            f"{labels.name} holds {labels.rows} labels, {split_images.name} {split_images.rows} "
            "images; restore the one that is wrong"
        )


@functools.lru_cache(maxsize=len(SPLITS))
def _read_labels(array: StoredArray, status: files.Status) -> np.ndarray:
    """Once per process while the file stays: a worker gets the source anew with every slice."""
    labels = array.read()
    return labels if labels.ndim == 1 else labels[:, 0].copy()


@dataclasses.dataclass(frozen=True)
class ArraySplit:
    """A split's images and labels, by their headers.

    Attributes:
      images: of uint8, uint16 or bool.
      labels: integers, [N], or [N, several], of which the first counts; None where it has none.

    Raises:
      ConfigError: they are of another type or shape.
      WorkError: there are more or fewer labels than images, or their file is damaged.
    """

    images: StoredArray
    labels: StoredArray | None

    def __post_init__(self) -> None:
        _check_images(self.images)
        if self.labels is not None:
            _check_labels(self.labels, self.images)
            self.read_labels()

    def read_labels(self) -> np.ndarray | None:
        """Integers, shape [N]; None where it has none."""
        if self.labels is None:
            return None
        return _read_labels(self.labels, files.status(self.labels.path))


@dataclasses.dataclass(frozen=True)
class ArraySource(UnlistedInputs, abc.ABC):
    """A source with one array of images per split.

    Attributes:
      path: what the user named.
      conversion: what the images are turned into.
    """

    path: epath.Path
    conversion: Conversion = dataclasses.field(default_factory=Conversion)

    def __getstate__(self) -> dict[str, Any]:
        # Workers need the headers, and need not look through all labels for the classes.
        names = ("path", "conversion", "_splits", "class_names")
        return {name: getattr(self, name) for name in names}

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
    def _splits(self) -> Mapping[str, ArraySplit]:
        """The splits by name."""

    @property
    def input(self) -> Input:
        return Input(self.path, fingerprint([(f.name, *files.status(f)) for f in self._files]))

    @property
    def settings(self) -> dict[str, Any]:
        return self.conversion.as_json()

    @functools.cached_property
    def class_names(self) -> list[str]:
        """The numbers up to the highest label; then, if a split has no labels, `unlabelled`."""
        names: list[str] = []
        for split in self._splits.values():
            if (labels := split.read_labels()) is not None:
                classes = labels[_usable(labels)]
                highest = int(classes.max()) if len(classes) else -1
                names += map(str, range(len(names), highest + 1))
        unlabelled = any(split.labels is None for split in self._splits.values())
        return [*names, UNLABELLED] if unlabelled else names

    @property
    def num_examples(self) -> Mapping[str, int]:
        return {name: split.images.rows for name, split in self._splits.items()}

    def slices(self) -> list[Slice]:
        parts = []
        arrays = [split.images for split in self._splits.values()]
        # Enough of them to keep some cores busy, and no more than that needs.
        total = sum(array.rows * array.row_bytes for array in arrays)
        size = min(max(total // _SLICES, _LEAST_SLICE_BYTES), SLICE_BYTES)
        for name, array in zip(self._splits, arrays, strict=True):
            step = max(1, size // array.row_bytes if array.cuttable else array.rows)
            for first in range(0, array.rows, step):
                file = f"{array.path.name}:{array.member}" if array.member else array.path.name
                parts.append(Slice(name, file, first, min(step, array.rows - first)))
        return parts

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        split = self._splits[part.split]
        unlabelled = len(self.class_names) - 1
        all_labels = split.read_labels()
        array = split.images
        at_a_time = images_per_block(array.shape[1:], array.row_bytes, self.conversion)
        first = part.first
        for pixels in array.blocks(part.first, part.examples, at_a_time):
            rows = slice(first, first + len(pixels))
            ids = [example_id(part.split, row) for row in range(rows.start, rows.stop)]
            labels = np.full(len(pixels), unlabelled) if all_labels is None else all_labels[rows]
            yield from self._convert(part.split, ids, pixels, labels)
            first = rows.stop

    def _convert(
        self, split: str, ids: list[str], pixels: np.ndarray, labels: np.ndarray
    ) -> Iterator[ExampleBatch | Rejected]:
        usable = _usable(labels)
        for row in np.flatnonzero(~usable):
            detail = f"label {labels[row]} is outside 0..{MAX_LABEL}"
            yield Rejected(ids[row], split, None, Reason.BAD_LABEL, detail)
        if not usable.any():
            return
        if not usable.all():
            ids = [ids[row] for row in np.flatnonzero(usable)]
            pixels, labels = pixels[usable], labels[usable]
        yield from convert_block(split, ids, pixels, labels, self.conversion)


def _usable(labels: np.ndarray) -> np.ndarray:
    """Which labels can be classes; bool, shape [N]."""
    return (labels >= 0) & (labels <= MAX_LABEL)


def folder_name(folder: epath.Path) -> str:
    """A folder's own name, however the path to it is written."""
    return os.path.basename(os.path.abspath(folder))

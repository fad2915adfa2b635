"""Base of the sources that have one array of images per split, all of the same shape."""

import abc
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base import files
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Input, fingerprint
from components.data.examples import SPLITS, ExampleBatch
from components.ingest.conversion import AS_IS, MAX_PIXELS, Conversion
from components.ingest.rejection import Reason, Rejected
from components.sources.array_file import StoredArray
from components.sources.source import (
    MAX_LABEL,
    UNLABELLED,
    IndivisibleFingerprint,
    Slice,
    convert_batch,
    example_id,
    images_per_batch,
)

# Sizes of slices in bytes: about _TARGET_SLICES of them, within these bounds.
SLICE_BYTES = 32 << 20
_MIN_SLICE_BYTES = 8 << 20
_TARGET_SLICES = 64

_CHANNELS = (1, 2, 3, 4)  # gray or RGB, without or with alpha


def _check_images(array: StoredArray) -> None:
    """Raises ConfigError unless an array has the type and the shape of images."""
    if array.dtype.kind not in "bu" or array.dtype.itemsize > 2:
        raise ConfigError(
            f"{array.name} holds {array.dtype.name} images; scale them to 0..255 and save them as "
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
            f"{array.name} has shape {shape}; save images with shape [N, height, width] or "
            "[N, height, width, 1 to 4 channels]"
        )
    if shape[1] * shape[2] > MAX_PIXELS:
        raise ConfigError(
            f"{array.name} has shape {shape}; an image may have at most {MAX_PIXELS:,} "
            "pixels, save smaller ones"
        )


def _check_labels(labels: StoredArray, split_images: StoredArray) -> None:
    """Raises ConfigError unless labels are integers, WorkError unless there is one per image."""
    if labels.dtype.kind not in "biu":
        raise ConfigError(f"{labels.name} holds {labels.dtype.name} labels; save them as integers")
    if labels.rows != split_images.rows:
        raise WorkError(
            f"{labels.name} holds {labels.rows} labels, but {split_images.name} holds "
            f"{split_images.rows} images; restore the file that is wrong"
        )


# Cached because a worker unpickles the source with every slice. The file's status is part of the
# key, so that a changed file is read again.
@functools.lru_cache(maxsize=len(SPLITS))
def _read_labels(array: StoredArray, status: files.FileStat) -> np.ndarray:
    labels = array.read()
    return labels if labels.ndim == 1 else labels[:, 0].copy()


@dataclasses.dataclass(frozen=True)
class ArraySplit:
    """The arrays of one split.

    Attributes:
      images: uint8, uint16 or bool, shape [N, height, width] or [N, height, width, channels].
      labels: integers, shape [N] or [N, M], of which the first column is used; None if the split
        has no labels.

    Raises:
      ConfigError: the type or the shape of an array is not supported.
      WorkError: the numbers of labels and images differ, or the file of labels is damaged.
    """

    images: StoredArray
    labels: StoredArray | None

    def __post_init__(self) -> None:
        _check_images(self.images)
        if self.labels is not None:
            _check_labels(self.labels, self.images)
            self.read_labels()  # Reports a damaged file before the work starts.

    def read_labels(self) -> np.ndarray | None:
        """Labels as integers, shape [N]; None if the split has none."""
        if self.labels is None:
            return None
        return _read_labels(self.labels, files.stat(self.labels.path))


@dataclasses.dataclass(frozen=True)
class ArraySource(IndivisibleFingerprint, abc.ABC):
    """A source with one array of images per split.

    Attributes:
      path: the file or folder that the user named.
      conversion: size and channels to convert the images to.
    """

    path: epath.Path
    conversion: Conversion = AS_IS

    def __getstate__(self) -> dict[str, Any]:
        # With these, a worker neither reads the headers nor searches all labels for the classes.
        names = ("path", "conversion", "_splits", "class_names")
        return {name: getattr(self, name) for name in names}

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The dataset's name in the names of the output files."""

    @property
    @abc.abstractmethod
    def _files(self) -> Sequence[epath.Path]:
        """The files of the source, sorted."""

    @property
    @abc.abstractmethod
    def _splits(self) -> Mapping[str, ArraySplit]:
        """The splits by name."""

    @property
    def input(self) -> Input:
        return Input(self.path, fingerprint([(f.name, *files.stat(f)) for f in self._files]))

    @property
    def settings(self) -> dict[str, Any]:
        return self.conversion.as_json()

    @functools.cached_property
    def class_names(self) -> list[str]:
        """The numbers from 0 to the highest label, and `unlabelled` if a split has no labels."""
        names: list[str] = []
        for split in self._splits.values():
            if (labels := split.read_labels()) is not None:
                classes = labels[_is_valid(labels)]
                highest = int(classes.max()) if len(classes) else -1
                names += map(str, range(len(names), highest + 1))
        has_unlabelled = any(split.labels is None for split in self._splits.values())
        return [*names, UNLABELLED] if has_unlabelled else names

    @property
    def num_examples(self) -> Mapping[str, int]:
        return {name: split.images.rows for name, split in self._splits.items()}

    def slices(self) -> list[Slice]:
        parts = []
        arrays = [split.images for split in self._splits.values()]
        # Enough slices to keep all cores busy, but each large enough to be worth its overhead.
        total = sum(array.rows * array.row_bytes for array in arrays)
        size = min(max(total // _TARGET_SLICES, _MIN_SLICE_BYTES), SLICE_BYTES)
        for name, array in zip(self._splits, arrays, strict=True):
            step = max(1, size // array.row_bytes if array.seekable else array.rows)
            for first in range(0, array.rows, step):
                file = f"{array.path.name}:{array.member}" if array.member else array.path.name
                parts.append(Slice(name, file, first, min(step, array.rows - first)))
        return parts

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        split = self._splits[part.split]
        unlabelled = len(self.class_names) - 1
        split_labels = split.read_labels()
        array = split.images
        batch_rows = images_per_batch(array.shape[1:], array.row_bytes, self.conversion)
        first = part.first
        for pixels in array.batches(part.first, part.examples, batch_rows):
            rows = slice(first, first + len(pixels))
            ids = [example_id(part.split, row) for row in range(rows.start, rows.stop)]
            if split_labels is None:
                labels = np.full(len(pixels), unlabelled)
            else:
                labels = split_labels[rows]
            yield from self._convert(part.split, ids, pixels, labels)
            first = rows.stop

    def _convert(
        self, split: str, ids: list[str], pixels: np.ndarray, labels: np.ndarray
    ) -> Iterator[ExampleBatch | Rejected]:
        """Rejects examples whose labels cannot be classes and converts the others."""
        is_valid = _is_valid(labels)
        for row in np.flatnonzero(~is_valid):
            detail = f"label {labels[row]} is outside 0..{MAX_LABEL}"
            yield Rejected(ids[row], split, None, Reason.BAD_LABEL, detail)
        if not is_valid.any():
            return
        if not is_valid.all():
            ids = [ids[row] for row in np.flatnonzero(is_valid)]
            pixels, labels = pixels[is_valid], labels[is_valid]
        yield from convert_batch(split, ids, pixels, labels, self.conversion)


def _is_valid(labels: np.ndarray) -> np.ndarray:
    """Whether each label can be a class; bool, shape [N]."""
    return (labels >= 0) & (labels <= MAX_LABEL)

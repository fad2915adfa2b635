"""Base of the sources that have one array of images per split, all of the same shape."""

import abc
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base import files, memory
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Input, fingerprint
from components.data.examples import SPLITS, ExampleBatch
from components.ingest.conversion import AS_IS, MAX_PIXELS, Conversion
from components.ingest.rejection import Reason, Rejected
from components.sources.array_file import StoredArray
from components.sources.array_splits import SelectedArray, SplitArrays
from components.sources.array_views import ArrangedArray
from components.sources.layout import ARRAY_CHANNELS, AxisLayout
from components.sources.source import (
    BATCH_BYTES,
    MAX_LABEL,
    NO_LABEL,
    UNLABELLED,
    IndivisibleFingerprint,
    Slice,
    convert_batch,
    example_id,
    images_per_batch,
)

AnyArray = StoredArray | ArrangedArray | SelectedArray
AnyLabels = StoredArray | SelectedArray

# Sizes of slices in bytes: about _TARGET_SLICES of them, within these bounds.
SLICE_BYTES = 32 << 20
_MIN_SLICE_BYTES = 8 << 20
_TARGET_SLICES = 64
_LOADED_LABEL_BYTES = 8


def _check_images(array: AnyArray) -> None:
    """Raises ConfigError unless an array has the type and the shape of images."""
    if array.dtype.kind not in "bu" or array.dtype.itemsize > 2:
        raise ConfigError(
            f"{array.name} holds {array.dtype.name} images; scale them to 0..255 and save them as "
            "uint8"
        )
    shape = array.shape
    if len(shape) == 4 and shape[1] in ARRAY_CHANNELS and shape[3] not in ARRAY_CHANNELS:
        raise ConfigError(
            f"{array.name} has shape {shape}, channels first; read it with --layout NCHW"
        )
    channels = shape[3] if len(shape) == 4 else 1
    if len(shape) not in (3, 4) or 0 in shape[1:] or channels not in ARRAY_CHANNELS:
        raise ConfigError(
            f"{array.name} has shape {shape}; save images with shape [N, height, width] or "
            "[N, height, width, 1 to 4 channels], or give the order of the axes with --layout, "
            "such as HWN, or N28x28 for flat rows"
        )
    if shape[1] * shape[2] > MAX_PIXELS:
        raise ConfigError(
            f"{array.name} has shape {shape}; an image may have at most {MAX_PIXELS:,} "
            "pixels, save smaller ones"
        )


def _check_labels(labels: AnyLabels, split_images: AnyArray) -> None:
    """Raises ConfigError unless labels are integers, WorkError unless there is one per image."""
    if labels.dtype.kind not in "biu" and one_hot_classes(labels) is None:
        raise ConfigError(f"{labels.name} holds {labels.dtype.name} labels; save them as integers")
    if labels.rows != split_images.rows:
        raise WorkError(
            f"{labels.name} holds {labels.rows} labels, but {split_images.name} holds "
            f"{split_images.rows} images; restore the file that is wrong"
        )


# Cached because a worker unpickles the source with every slice. The file's status is part of the
# key, so that a changed file is read again.
@functools.lru_cache(maxsize=len(SPLITS))
def _read_labels(array: AnyLabels, status: files.FileStat) -> np.ndarray:
    if (classes := one_hot_classes(array)) is not None:
        return classes
    labels = np.empty(array.rows, array.dtype)
    row = 0
    # In batches, because further columns are not used.
    for rows in array.batches(0, array.rows, max(1, BATCH_BYTES // array.row_bytes)):
        labels[row : row + len(rows)] = rows.reshape(len(rows), -1)[:, 0]
        row += len(rows)
    return labels


def one_hot_classes(labels: AnyLabels) -> np.ndarray | None:
    """The classes of one-hot labels: int64, shape [N].

    Args:
      labels: numbers of any type and shape.

    Returns:
      The classes; None unless the shape is [N, 2 or more] and each row holds one 1 among zeros.

    Raises:
      WorkError: the file is damaged.
    """
    if len(labels.shape) != 2 or labels.dtype.kind not in "biuf":
        return None
    if not 2 <= labels.shape[1] <= MAX_LABEL + 1:
        return None
    classes = [np.zeros(0, np.int64)]
    # In batches: 1,000 columns of floats take 4,000 times the memory of the classes.
    batch_rows = max(1, BATCH_BYTES // labels.row_bytes)
    for rows in labels.batches(0, labels.rows, batch_rows):
        if (np.count_nonzero(rows, axis=1) != 1).any() or (rows.max(axis=1) != 1).any():
            return None
        classes.append(rows.argmax(axis=1))
    return np.concatenate(classes)


@dataclasses.dataclass(frozen=True)
class ArraySplit:
    """The arrays of one split.

    Attributes:
      images: uint8, uint16 or bool, shape [N, height, width] or [N, height, width, channels].
      labels: integers, shape [N]; or one-hot, shape [N, classes]; or integers, shape [N, M], of
        which the first column is used; None if the split has no labels. NO_LABEL means that an
        image has no label.

    Raises:
      ConfigError: the type or the shape of an array is not supported.
      WorkError: the numbers of labels and images differ, or the file of labels is damaged.
    """

    images: AnyArray
    labels: AnyLabels | None

    def __post_init__(self) -> None:
        _check_images(self.images)
        if self.labels is not None:
            _check_labels(self.labels, self.images)
            self.read_labels()  # Reports a damaged file before the work starts.

    def divide(self, arrays: SplitArrays) -> dict[str, "ArraySplit"]:
        """Divides the images and labels into several splits, by name."""
        images, labels = self.images, self.labels
        if isinstance(images, SelectedArray) or isinstance(labels, SelectedArray):
            raise TypeError("the images are already those of one of several splits")
        return {
            split: ArraySplit(
                SelectedArray(images, arrays, split),
                None if labels is None else SelectedArray(labels, arrays, split),
            )
            for split in arrays.by_split()
        }

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
      layout: order of the axes of the arrays of images; None for [N, height, width] or
        [N, height, width, channels].
      load_bytes: limit for arrays that are loaded as a whole: labels, and images that are not
        stored one after the other.
    """

    path: epath.Path
    conversion: Conversion = AS_IS
    layout: AxisLayout | None = None
    load_bytes: int = memory.LOAD_BYTES

    def __getstate__(self) -> dict[str, Any]:
        # These are pickled, so that workers need not read the headers or search all labels for
        # classes.
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in [*names, "_splits", "class_names"]}

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
        layout = {} if self.layout is None else {"layout": self.layout.as_text()}
        return self.conversion.as_json() | layout

    def _arrange(self, images: StoredArray) -> StoredArray | ArrangedArray:
        """An array of images in the order that the user states.

        Raises:
          ConfigError: the array must be loaded as a whole and is too large.
        """
        if self.layout is None:
            return images
        arranged = ArrangedArray(images, self.layout)
        arranged.check_load(self.load_bytes)
        return arranged

    def _check_labels_load(self, labels: StoredArray) -> None:
        """Raises ConfigError if the labels of a split, or those of one image, are too large."""
        size = max(labels.rows * _LOADED_LABEL_BYTES, labels.row_bytes)
        memory.check_load(labels.name, size, limit=self.load_bytes)

    @functools.cached_property
    def class_names(self) -> list[str]:
        """The numbers from 0 to the highest label, and `unlabelled` if images have no label."""
        names: list[str] = []
        has_unlabelled = False
        for split in self._splits.values():
            labels = split.read_labels()
            has_unlabelled |= labels is None or bool((labels == NO_LABEL).any())
            if labels is not None:
                classes = labels[_is_valid(labels)]
                highest = int(classes.max()) if len(classes) else -1
                names += map(str, range(len(names), highest + 1))
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
            labels = np.full(len(pixels), NO_LABEL) if split_labels is None else split_labels[rows]
            yield from self._convert(part.split, ids, pixels, labels, unlabelled)
            first = rows.stop

    def _convert(
        self,
        split: str,
        ids: list[str],
        pixels: np.ndarray,
        labels: np.ndarray,
        unlabelled: int,
    ) -> Iterator[ExampleBatch | Rejected]:
        """Rejects examples whose labels cannot be classes and converts the others.

        Args:
          unlabelled: the class of examples that have the label NO_LABEL.
        """
        is_valid = _is_valid(labels) | (labels == NO_LABEL)
        for row in np.flatnonzero(~is_valid):
            detail = f"label {labels[row]} is outside 0..{MAX_LABEL}"
            yield Rejected(ids[row], split, None, Reason.BAD_LABEL, detail)
        if not is_valid.any():
            return
        if not is_valid.all():
            ids = [ids[row] for row in np.flatnonzero(is_valid)]
            pixels, labels = pixels[is_valid], labels[is_valid]
        labels = labels.astype(np.int64)
        labels = np.where(labels == NO_LABEL, unlabelled, labels)
        yield from convert_batch(split, ids, pixels, labels, self.conversion)


def _is_valid(labels: np.ndarray) -> np.ndarray:
    """Whether each label can be a class; bool, shape [N]."""
    return (labels >= 0) & (labels <= MAX_LABEL)

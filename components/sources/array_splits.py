"""Splits of one array of images that other arrays divide.

Either one array says for each image to which split it belongs, or an array per split says which
rows are its images.
"""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from components.base import files
from components.base.errors import ConfigError
from components.data.examples import SPLITS
from components.sources.array_file import StoredArray
from components.sources.array_views import ArrangedArray, ArrayView
from components.sources.escaping import escape
from components.sources.split_names import read_split

# Numbers of splits in CelebA, WILDS and others; train is the largest.
_NUMBERED_SPLITS = ("train", "validation", "test")
_ADVICE = (
    "to divide the images, save their row numbers as train_idx, validation_idx and test_idx, or "
    "one of the texts train, validation and test for each image as split; or remove it, so that "
    "all images are train"
)
_NUM_SHOWN = 5


def unclear_error(name: str, reason: str) -> ConfigError:
    """The error for an array that may say which images are test images, but cannot be followed.

    Args:
      name: name of the array and its file.
      reason: why it cannot be followed.
    """
    return ConfigError(
        f"{name} may say which images belong to the test split, but {reason}; {_ADVICE}"
    )


@dataclasses.dataclass(frozen=True)
class SplitArrays:
    """The arrays that divide images into splits.

    Attributes:
      num_images: number of images.
      column: an array with the split of each image; None if `rows` says it.
      rows: for some splits, an array with the rows of its images, or a mask of them.
    """

    num_images: int
    column: StoredArray | None = None
    rows: tuple[tuple[str, StoredArray], ...] = ()

    @property
    def arrays(self) -> list[StoredArray]:
        """All arrays."""
        return [self.column] if self.column is not None else [array for _, array in self.rows]

    def by_split(self) -> dict[str, np.ndarray]:
        """The rows of the images of each split that has any, int64, ascending.

        If no array says which images are train images, those of no other split are.

        Raises:
          ConfigError: the arrays contradict one another, or can be read in two ways.
          WorkError: a file is damaged.
        """
        return _rows_by_split(self, tuple(files.stat(array.path) for array in self.arrays))


# Cached because a worker unpickles the source with every slice. The files' status is part of the
# key, so that a changed file is read again.
@functools.lru_cache(maxsize=2)
def _rows_by_split(
    arrays: SplitArrays, status: tuple[files.FileStat, ...]
) -> dict[str, np.ndarray]:
    splits = np.full(arrays.num_images, -1, np.int8)  # Indices into SPLITS.
    if arrays.column is not None:
        splits = _read_column(arrays.column, arrays.num_images)
    for split, array in arrays.rows:
        rows = _read_rows(array, arrays.num_images)
        if (splits[rows] >= 0).any():
            raise unclear_error(array.name, "some of its rows belong to another split too")
        splits[rows] = SPLITS.index(split)
    if arrays.rows and "train" not in dict(arrays.rows):
        splits[splits < 0] = SPLITS.index("train")
    by_split = {split: np.flatnonzero(splits == number) for number, split in enumerate(SPLITS)}
    return {split: rows for split, rows in by_split.items() if len(rows)}


def _read_column(array: StoredArray, num_images: int) -> np.ndarray:
    """The split of each image as an index into SPLITS, int8, shape [N]."""
    values = _read_vector(array)
    if len(values) != num_images:
        raise unclear_error(
            array.name, f"it has {len(values)} values, while there are {num_images} images"
        )
    unique, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    if values.dtype.kind in "SU":
        split_of_value = [_split_of_text(value) for value in unique.tolist()]
    elif unique.tolist() == [0, 1, 2] and counts.argmax() == 0:
        split_of_value = list(_NUMBERED_SPLITS)
    else:
        split_of_value = [None] * len(unique)
    pairs = zip(unique.tolist(), split_of_value, strict=True)
    unknown = [value for value, split in pairs if split is None]
    if unknown:
        shown = escape(", ".join(map(str, unknown[:_NUM_SHOWN])))
        raise unclear_error(array.name, f"its values {shown} may mean any split")
    indices = np.array([SPLITS.index(split) for split in split_of_value if split], np.int8)
    return indices[inverse]


def _split_of_text(value: str | bytes) -> str | None:
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    reading = read_split(text.strip())
    return reading.split if reading is not None and reading.is_plain else None


def _read_rows(array: StoredArray, num_images: int) -> np.ndarray:
    """The rows of a split's images, from row numbers or from a mask."""
    values = _read_vector(array)
    if values.dtype.kind not in "biu":
        raise unclear_error(array.name, f"it holds {values.dtype.name} values, not row numbers")
    if len(values) == num_images > 2 and np.isin(values, (0, 1)).all():
        return np.flatnonzero(values)
    if values.dtype.kind == "b":
        raise unclear_error(
            array.name, f"it is a mask of {len(values)}, while there are {num_images} images"
        )
    if len(values) and not (values.min() >= 0 and values.max() < num_images):
        raise unclear_error(
            array.name,
            f"its row numbers are {values.min()} to {values.max()}, not from 0 to {num_images - 1}",
        )
    if len(np.unique(values)) < len(values):
        raise unclear_error(array.name, "some of its row numbers occur twice")
    return values.astype(np.int64)


def _read_vector(array: StoredArray) -> np.ndarray:
    return array.read().reshape(-1)


@dataclasses.dataclass(frozen=True)
class SelectedArray(ArrayView):
    """The images or labels of one split, of an array that holds those of several.

    Attributes:
      stored: the array with all images or labels.
      arrays: how it is divided into splits.
      split: name of the split.
    """

    stored: StoredArray | ArrangedArray
    arrays: SplitArrays
    split: str

    @property
    def _rows(self) -> np.ndarray:
        return self.arrays.by_split()[self.split]

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, ...], with the rows of the split."""
        return (len(self._rows), *self.stored.shape[1:])

    def batches(self, first: int, count: int, batch_rows: int) -> Iterator[np.ndarray]:
        """Yields images or labels in batches, as `StoredArray.batches` does.

        The rows of other splits between them are read too.
        """
        wanted = self._rows[first : first + count]
        if not len(wanted):
            return
        start, stop = 0, self.stored.rows
        if self.seekable:
            start, stop = int(wanted[0]), int(wanted[-1]) + 1
        for rows in self.stored.batches(start, stop - start, batch_rows):
            place, end = np.searchsorted(wanted, (start, start + len(rows)))
            if end > place:
                yield rows[wanted[place:end] - start]
            start += len(rows)

"""NumPy files as a source: an .npz archive, an .npy file, or a folder of such files.

Nothing is unpickled, and an array of images is never loaded as a whole.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping

from etils import epath

from components.base import console, memory
from components.base.errors import ConfigError, WorkError
from components.data.examples import SPLITS
from components.sources.array_file import StoredArray
from components.sources.array_listing import (
    KNOWN_NAMES,
    ListedArray,
    enumerate_names,
    find_arrays,
)
from components.sources.array_names import ArrayKind, ArrayName, parse_array_name
from components.sources.array_source import AnyArray, ArraySource, ArraySplit, one_hot_classes
from components.sources.array_splits import SplitArrays, unclear_error
from components.sources.escaping import to_dataset_name
from components.sources.layout import check_unambiguous
from components.sources.npy_header import read_header, read_shape_and_type
from components.sources.source import folder_name

_LOADED_ROW_BYTES = 8


@dataclasses.dataclass(frozen=True)
class _Roles:
    """The arrays that are read.

    Attributes:
      images: by split.
      labels: by split.
      other_labels: arrays that are labels by their names, such as fine_labels; by the rest of the
        name, and by split.
      dividers: arrays that may say to which splits the images belong.
    """

    images: dict[str, ListedArray]
    labels: dict[str, ListedArray] = dataclasses.field(default_factory=dict)
    other_labels: dict[str, dict[str, ListedArray]] = dataclasses.field(default_factory=dict)
    dividers: list[ListedArray] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class NumpySource(ArraySource):
    """The arrays of an .npz file, an .npy file, or a folder of such files.

    The names of the arrays are those of MedMNIST (`train_images`, `val_labels`, …), those of Keras
    (`x_train`, …), `images` and `labels`, `x` and `y`, or `data` and `target`. Arrays of other
    names are ignored with a warning. A single array holds images, whatever its name; but files of
    one array each that are named like KMNIST's (`kmnist-train-imgs.npz`,
    `kmnist-test-labels.npz`) are read together, if the path is one of them.

    One array of images may be divided by an array with the split of each image, or by arrays with
    the rows of the splits (`train_idx`); one that cannot be followed stops the work.

    Images are uint8, uint16 or bool, shape [N, height, width] or [N, height, width, channels], or
    as the layout says.
    Labels are integers, shape [N] or [N, 1]. Images with several labels each, as in MedMNIST's
    chestmnist, are `unlabelled`.
    """

    @property
    def name(self) -> str:
        if self.path.is_dir():
            return to_dataset_name(folder_name(self.path))
        if len(self._files) > 1 and (name := parse_array_name(self.path.stem)) is not None:
            images = next(iter(self._roles.images.values())).name
            prefix = images.text if images is not None else name.text
            return to_dataset_name(prefix or folder_name(self.path.parent))
        return to_dataset_name(self.path.stem)

    @property
    def _files(self) -> list[epath.Path]:
        paths = {array.path for array in [*self._roles.images.values(), *self._labels.values()]}
        if self._split_arrays is not None:
            paths |= {array.path for array in self._split_arrays.arrays}
        return sorted(paths)

    @functools.cached_property
    def _arrays(self) -> list[ListedArray]:
        return find_arrays(self.path)

    @functools.cached_property
    def _roles(self) -> _Roles:
        """The contents of the arrays, by their names.

        Raises:
          ConfigError: two arrays have the same role, there are no images, or labels have no images.
        """
        named = [(array, array.name) for array in self._arrays if array.name is not None]
        if len(self._arrays) == 1 and all(
            name.kind not in (ArrayKind.IMAGES, ArrayKind.LABELS) for _, name in named
        ):
            split = named[0][1].split if named else None
            return _Roles({split or "train": self._arrays[0]})
        prefix = self._prefix(name.text for _, name in named if name.kind == ArrayKind.IMAGES)
        roles = _Roles({})
        for array, name in named:
            if name.kind == ArrayKind.IMAGES and name.text == prefix:
                self._set_role(roles.images, array, name)
            elif name.kind == ArrayKind.LABELS and name.text == prefix:
                self._set_role(roles.labels, array, name)
            elif name.kind == ArrayKind.LABELS:
                roles.other_labels.setdefault(name.text, {})[name.split or "train"] = array
            elif name.kind != ArrayKind.IMAGES:
                roles.dividers.append(array)
        for array in (roles.labels[split] for split in roles.labels if split not in roles.images):
            if array.path == self.path or self.path.is_dir():
                raise self._unknown_names_error()
            raise ConfigError(
                f"{array.path}: the file with the images of these labels is missing; add it, or "
                "remove the labels"
            )
        return roles

    def _prefix(self, prefixes: Iterable[str]) -> str:
        """The prefix that the names of the arrays share, such as `kmnist`.

        Args:
          prefixes: those of the arrays of images.

        Raises:
          ConfigError: there are none, or several.
        """
        different = sorted(set(prefixes))
        if not different or (different[0] and different[1:] and not self.path.is_dir()):
            raise self._unknown_names_error()
        if different[0] and different[1:]:
            raise ConfigError(
                f"{self.path} holds several datasets, {enumerate_names(different)}; select one by "
                "the path of one of its files"
            )
        return different[0]

    def _set_role(self, roles: dict[str, ListedArray], array: ListedArray, name: ArrayName) -> None:
        """Sets the array of a split. Raises ConfigError if it has another one."""
        first = roles.setdefault(name.split or "train", array)
        if first is not array:
            where = "" if first.path != array.path and not self.path.is_dir() else f"{self.path}: "
            raise ConfigError(
                f"{where}both {first.label} and {array.label} are {name.role}; rename or remove "
                "one of them"
            )

    def _unknown_names_error(self) -> ConfigError:
        found = enumerate_names(array.label for array in self._arrays) or "no arrays"
        return ConfigError(f"{self.path} holds {found}; name the arrays {KNOWN_NAMES}")

    @functools.cached_property
    def _images(self) -> dict[str, AnyArray]:
        """The arrays of images by split, before one of them is divided."""
        headers = {
            split: _header(self._roles.images[split], sliced=True)
            for split in SPLITS
            if split in self._roles.images
        }
        return {split: self._arrange(array) for split, array in headers.items()}

    @functools.cached_property
    def _labels(self) -> dict[str, ListedArray]:
        """The arrays of labels by split."""
        if self._roles.labels or len(self._other_labels) != 1:
            return self._roles.labels
        return self._other_labels[0]

    @functools.cached_property
    def _other_labels(self) -> list[dict[str, ListedArray]]:
        """The arrays that may be used as labels, by split, if there are none of the plain name."""
        candidates = [] if self._roles.labels else self._roles.other_labels.values()
        return [
            by_split
            for by_split in candidates
            if all(self._fits(array, split) for split, array in by_split.items())
        ]

    def _fits(self, array: ListedArray, split: str) -> bool:
        """Whether an array holds one class for each image of a split."""
        header = _read_header_or_none(array)
        images = self._images.get(split)
        if header is None or images is None or header.rows != images.rows or 0 in header.shape:
            return False
        self._check_labels_load(header)
        is_one_each = header.dtype.kind in "biu" and header.shape[1:] in ((), (1,))
        return is_one_each or one_hot_classes(header) is not None

    @functools.cached_property
    def _split_arrays(self) -> SplitArrays | None:
        """The arrays that divide the images into splits; None if there are none.

        Raises:
          ConfigError: an array may say which images are test images, but cannot be followed.
        """
        dividers = [array for array in self._roles.dividers if _may_divide(array)]
        images = self._roles.images
        is_said = [
            array.name is not None and array.name.split is not None for array in images.values()
        ]
        if not dividers or (all(is_said) and set(images) != {"train"}):
            return None
        if len(images) > 1:
            raise self._unclear(dividers[0], "there are several arrays of images")
        rows: dict[str, StoredArray] = {}
        columns: list[StoredArray] = []
        for array in dividers:
            name = array.name
            if name is None or name.kind == ArrayKind.OTHER:
                raise self._unclear(array, "its name does not say how")
            if columns or (rows and name.kind == ArrayKind.COLUMN) or name.split in rows:
                raise self._unclear(array, "so may another array")
            header = _read_header_or_none(array)
            if header is None:
                raise self._unclear(array, "it holds Python objects, or its data is damaged")
            size = header.rows * max(header.row_bytes, _LOADED_ROW_BYTES)
            memory.check_load(header.name, size, limit=self.load_bytes)
            if name.split is None:
                columns.append(header)
            else:
                rows[name.split] = header
        [num_images] = [array.rows for array in self._images.values()]
        return SplitArrays(num_images, columns[0] if columns else None, tuple(rows.items()))

    def _unclear(self, array: ListedArray, reason: str) -> ConfigError:
        where = "" if not array.member and not self.path.is_dir() else f"{self.path}: "
        return unclear_error(f"{where}{array.label}", reason)

    @functools.cached_property
    def _splits(self) -> Mapping[str, ArraySplit]:
        labels = {split: _header(array) for split, array in self._labels.items()}
        for array in labels.values():
            self._check_labels_load(array)
        if self.layout is None:
            check_unambiguous(
                {split: (array.name, array.shape) for split, array in self._images.items()},
                {split: array.rows for split, array in labels.items()},
            )
        split_arrays = self._split_arrays
        self._warn_of_ignored()
        labels = _without_several_labels(labels)
        splits = {
            split: ArraySplit(array, labels.get(split)) for split, array in self._images.items()
        }
        if split_arrays is None:
            return splits
        [undivided] = splits.values()
        splits = undivided.divide(split_arrays)
        names = enumerate_names(array.name for array in split_arrays.arrays)
        console.say(f"the splits of the images are those in {names}")
        left_out = undivided.images.rows - sum(split.images.rows for split in splits.values())
        if left_out:
            count = console.counted(left_out, "image")
            console.warn(f"{names}: {count} in no split, which is left out")
        return splits

    def _warn_of_ignored(self) -> None:
        """Names the arrays that are not read, and how to use them."""
        used = [*self._roles.images.values(), *self._labels.values()]
        if self._split_arrays is not None:
            used += [array for array in self._roles.dividers if _may_divide(array)]
        several = [array for by_split in self._other_labels for array in by_split.values()]
        if len(self._other_labels) > 1:
            names = enumerate_names(sorted(array.label for array in several))
            console.warn(
                f"{self.path} holds several arrays of labels, {names}: none of them is used, and "
                "all images are unlabelled; to use one, name it labels, or train_labels, "
                "test_labels, …"
            )
        ignored = [array.label for array in self._arrays if array not in [*used, *several]]
        if ignored:
            console.warn(
                f"{self.path}: ignoring {enumerate_names(sorted(ignored))}, which no split is "
                f"named after; to use arrays of images, name them {KNOWN_NAMES}; to use an array "
                "of one class number per image, name it labels, train_labels, …"
            )


def _may_divide(array: ListedArray) -> bool:
    """Whether an array may say which images belong to which split, by its shape and type."""
    shape, dtype = read_shape_and_type(array.path, array.member)
    is_other = array.name is None or array.name.kind == ArrayKind.OTHER
    # Numbers with a fraction are measures of a split, such as its means.
    is_possible = not is_other or dtype.kind in "biuSUO"
    return shape[:1] not in ((), (0,)) and shape[1:] in ((), (1,)) and is_possible


def _header(array: ListedArray, *, sliced: bool = False) -> StoredArray:
    return read_header(array.path, array.member, sliced=sliced)


def _read_header_or_none(array: ListedArray) -> StoredArray | None:
    """The header of an array; None if the array cannot be read."""
    try:
        return _header(array)
    except (ConfigError, WorkError):
        return None


def _without_several_labels(labels: dict[str, StoredArray]) -> dict[str, StoredArray]:
    """The arrays of labels, or {} with a warning if images have several labels each."""
    for array in labels.values():
        has_one_label_each = len(array.shape) == 1 or array.shape[1:] == (1,)
        if not has_one_label_each and one_hot_classes(array) is None:
            console.warn(
                f"{array.name} has shape {array.shape} and is not one-hot, so all images are "
                "unlabelled; to use labels, save one class number per image"
            )
            return {}
    return labels

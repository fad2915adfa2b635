"""NumPy files as a source: an .npz archive, an .npy file, or a folder of .npy files.

Nothing is unpickled, and an array of images is never loaded as a whole.
"""

import dataclasses
import functools
import io
import re
import tokenize
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np
from etils import epath

from components.base import console, files
from components.base.errors import ConfigError, WorkError
from components.data.examples import SPLITS
from components.sources.array_file import TRUNCATED, StoredArray, open_stream, read_up_to
from components.sources.array_source import (
    SLICE_BYTES,
    ArraySource,
    ArraySplit,
    one_hot_classes,
)
from components.sources.escaping import escape, to_dataset_name
from components.sources.layout import check_unambiguous
from components.sources.source import folder_name, split_from_name

# NumPy's own readers refuse longer headers.
_HEADER_BYTES = 1 << 14
# The local header of a zip member has 30 bytes; the last 4 are the lengths of the two fields that
# follow it, name and extra.
_ZIP_HEADER_BYTES = 30
_KINDS = {
    **dict.fromkeys(("images", "imgs", "x", "data"), "images"),
    **dict.fromkeys(("labels", "y", "target"), "labels"),
}
# The words for images and labels that belong together in the names of two files.
_SCHEMES = {"x": "xy", "y": "xy", "data": "data", "target": "data"}
_KNOWN_NAMES = (
    "train_images, train_labels, val_images, … (MedMNIST), x_train, y_train, x_test, … (Keras), "
    "images and labels, x and y, data and target, or one array of any name"
)


def is_numpy(path: epath.Path) -> bool:
    """Whether a path is an .npz or .npy file, or a folder with .npy files directly in it."""
    if path.is_dir():
        return any(_is_npy(file) for file in path.iterdir())
    return path.suffix in (".npz", ".npy")


@dataclasses.dataclass(frozen=True)
class NumpySource(ArraySource):
    """The arrays of an .npz file, an .npy file, or a folder of .npy files.

    The names of the arrays are those of MedMNIST (`train_images`, `val_labels`, …), those of Keras
    (`x_train`, …), `images` and `labels`, `x` and `y`, or `data` and `target`. Arrays of other
    names are ignored with a warning. A single array holds the training images, whatever its name;
    but files of one array each that are named like KMNIST's (`kmnist-train-imgs.npz`,
    `kmnist-test-labels.npz`) are read together, if the path is one of them.

    Images are uint8, uint16 or bool, shape [N, height, width] or [N, height, width, channels], or
    as the layout says.
    Labels are integers, shape [N] or [N, 1]. Images with several labels each, as in MedMNIST's
    chestmnist, are `unlabelled`.
    """

    @property
    def name(self) -> str:
        if self.path.is_dir():
            return to_dataset_name(folder_name(self.path))
        if len(self._files) > 1 and (role := _parse_file_name(self.path.stem)) is not None:
            return to_dataset_name(role.prefix or folder_name(self.path.parent))
        return to_dataset_name(self.path.stem)

    @property
    def _files(self) -> list[epath.Path]:
        return sorted({path for path, _ in self._arrays_by_role.values()})

    @functools.cached_property
    def _arrays_by_role(self) -> dict[tuple[str, str], tuple[epath.Path, str]]:
        """(file, archive member) of each array that is read, by (split, "images" or "labels").

        Raises:
          ConfigError: two arrays have the same role, there are no images, or labels have no images.
        """
        arrays = self._list_arrays()
        if pairs := self._list_paired_files(arrays):
            return pairs
        names: dict[tuple[str, str], str] = {}
        for name in arrays:
            if (role := _parse_role(name)) is None:
                continue
            if role in names:
                raise ConfigError(
                    f"{self.path}: both {names[role]} and {name} are {' '.join(role)}; "
                    "rename or remove one of them"
                )
            names[role] = name
        if not names and len(arrays) == 1:
            names = {("train", "images"): next(iter(arrays))}
        if not names or any((split, "images") not in names for split, _ in names):
            raise ConfigError(
                f"{self.path} holds {_enumerate(arrays) or 'no arrays'}; name the arrays "
                f"{_KNOWN_NAMES}"
            )
        if ignored := sorted(set(arrays) - set(names.values())):
            console.warn(
                f"{self.path}: ignoring {_enumerate(ignored)}, which no split is named after; to "
                f"use arrays of images, name them {_KNOWN_NAMES}"
            )
        return {role: arrays[name] for role, name in names.items()}

    def _list_arrays(self) -> dict[str, tuple[epath.Path, str]]:
        """(file, archive member) of every array, by its name; the member is "" for .npy files."""
        if self.path.is_dir():
            npy_files = [path for path in sorted(self.path.iterdir()) if _is_npy(path)]
            return {path.stem: (path, "") for path in npy_files}
        if self.path.suffix == ".npy":
            return {self.path.stem: (self.path, "")}
        members = _npy_members(self.path)
        return {member.removesuffix(".npy"): (self.path, member) for member in members}

    def _list_paired_files(
        self, arrays: Mapping[str, tuple[epath.Path, str]]
    ) -> dict[tuple[str, str], tuple[epath.Path, str]]:
        """The arrays of the files that belong to the path, by role; {} if it is the only one.

        Args:
          arrays: the arrays at the path.

        Raises:
          ConfigError: two files have one role, or there are no images for labels.
        """
        own_name = _parse_file_name(self.path.stem)
        if self.path.is_dir() or len(arrays) != 1 or own_name is None:
            return {}
        paired: dict[tuple[str, str], epath.Path] = {}
        for path in sorted(self.path.parent.iterdir()):
            name = _parse_file_name(path.stem)
            if name is None or path.suffix != self.path.suffix or path.name.startswith("."):
                continue
            if (name.prefix, name.scheme) != (own_name.prefix, own_name.scheme):
                continue
            if (first := paired.setdefault(name.role, path)) != path:
                raise ConfigError(
                    f"both {first} and {path} are {' '.join(name.role)}; rename or remove one of "
                    "them"
                )
        if len(paired) < 2:
            return {}
        for split, kind in paired:
            if (split, "images") not in paired:
                raise ConfigError(
                    f"{paired[split, kind]}: the file with the images of these labels is missing; "
                    "add it, or remove the labels"
                )
        console.say(f"reading {_enumerate(path.name for path in paired.values())} as one dataset")
        return {role: _only_array(path) for role, path in paired.items()}

    @functools.cached_property
    def _splits(self) -> Mapping[str, ArraySplit]:
        images: dict[str, StoredArray] = {}
        labels: dict[str, StoredArray] = {}
        for split in SPLITS:
            if (split, "images") not in self._arrays_by_role:
                continue
            if (split, "labels") in self._arrays_by_role:
                labels[split] = _read_header(*self._arrays_by_role[split, "labels"], sliced=False)
            images[split] = _read_header(*self._arrays_by_role[split, "images"], sliced=True)
        if self.layout is None:
            check_unambiguous(
                {split: (array.name, array.shape) for split, array in images.items()},
                {split: array.rows for split, array in labels.items()},
            )
        labels = _without_several_labels(labels)
        return {
            split: ArraySplit(self._arrange(array), labels.get(split))
            for split, array in images.items()
        }


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


@dataclasses.dataclass(frozen=True)
class _FileName:
    """The parts of a file's name, `kmnist-train-imgs`.

    Attributes:
      prefix: the part before the split and the kind.
      role: the split, and "images" or "labels".
      scheme: the same for the words for images and labels that belong together.
    """

    prefix: str
    role: tuple[str, str]
    scheme: str


def _parse_file_name(stem: str) -> _FileName | None:
    """The parts of the name of a file that holds one array; None if it has no role."""
    words = re.split("[-_.]", stem.lower())
    # The longest ending that has a role: `train-imgs`, not `imgs`.
    for start in range(max(0, len(words) - 2), len(words)):
        if role := _parse_role("_".join(words[start:])):
            kind = next(word for word in words[start:] if word in _KINDS)
            return _FileName("-".join(words[:start]), role, _SCHEMES.get(kind, "images"))
    return None


def _only_array(path: epath.Path) -> tuple[epath.Path, str]:
    """The file and the archive member of the only array of a file.

    Raises:
      ConfigError: the file holds more or fewer arrays.
    """
    if path.suffix == ".npy":
        return path, ""
    members = _npy_members(path)
    if len(members) != 1:
        raise ConfigError(
            f"{path} holds {len(members)} arrays, but files that are read together hold one each; "
            f"save all arrays in one .npz, and name them {_KNOWN_NAMES}"
        )
    return path, members[0]


def _npy_members(path: epath.Path) -> list[str]:
    """Names of the arrays in an .npz archive."""
    with open_stream(path) as file, zipfile.ZipFile(file) as archive:
        return [name for name in archive.namelist() if name.endswith(".npy")]


def _is_npy(path: epath.Path) -> bool:
    return path.suffix == ".npy" and not path.name.startswith(".")


def _parse_role(name: str) -> tuple[str, str] | None:
    """The split and the kind that an array's name stands for: `x_train` -> (train, images)."""
    match name.lower().split("_"):
        case [kind] if kind in _KINDS:
            return "train", _KINDS[kind]
        case [one, other]:
            for kind, split_name in ((one, other), (other, one)):
                if kind in _KINDS and (split := split_from_name(split_name)):
                    return split, _KINDS[kind]
    return None


def _enumerate(names: Iterable[str], limit: int = 12) -> str:
    """The names, separated by commas; at most the first `limit`."""
    names = [escape(name) for name in names]
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if names[limit:] else "")


def _read_header(path: epath.Path, member: str, *, sliced: bool) -> StoredArray:
    """Reads the header of an array.

    Args:
      path: the .npy file or .npz archive.
      member: name of the archive's member; "" for an .npy file.
      sliced: whether the array is to be read in slices if that is possible.

    Raises:
      ConfigError: it is an array of objects, a single number, or in Fortran order.
      WorkError: it is not an array, or its size is not the one in its header.
    """
    name = f"{path}: {escape(member.removesuffix('.npy'))}" if member else f"{path}"
    with open_stream(path, member) as stream:
        head, flaw = read_up_to(stream, _HEADER_BYTES)
    # Most files are shorter than the longest header.
    if flaw not in ("", TRUNCATED):
        raise WorkError(f"{name} cannot be read: {flaw}; restore the file")
    shape, fortran_order, dtype, start = _parse_header(name, bytes(head))
    _check_layout(name, shape, fortran_order, dtype)
    array = StoredArray(name, path, member, shape, dtype, start, seekable=not member)
    if not member:
        array.check_size(files.stat(path).size - start)
        return array
    with open_stream(path) as file, zipfile.ZipFile(file) as archive:
        info = archive.getinfo(member)
        array.check_size(info.file_size - start)
        is_small = info.file_size <= SLICE_BYTES
        if info.compress_type != zipfile.ZIP_STORED or is_small or not sliced:
            return array
        start += _member_offset(file, info)
    # An uncompressed member is a contiguous part of the archive. Many workers can read it in
    # parallel, but without the zip checksum, which covers the whole member.
    return dataclasses.replace(array, member="", start=start, seekable=True)


def _check_layout(name: str, shape: tuple[int, ...], fortran_order: bool, dtype: np.dtype) -> None:
    """Raises ConfigError unless an array's elements are numbers that are stored row by row."""
    if dtype.hasobject:
        raise ConfigError(
            f"{name} holds Python objects, which are never loaded; save an array of numbers"
        )
    if not shape:
        raise ConfigError(
            f"{name} is a single number; save images with shape [N, height, width], labels with [N]"
        )
    if fortran_order and len(shape) > 1:
        raise ConfigError(f"{name} is in Fortran order; save it again after np.ascontiguousarray")


def _member_offset(archive: io.BufferedIOBase, info: zipfile.ZipInfo) -> int:
    """Offset of a member's data in an archive, in bytes."""
    archive.seek(info.header_offset + _ZIP_HEADER_BYTES - 4)
    name_and_extra = np.frombuffer(archive.read(4), "<u2")
    return info.header_offset + _ZIP_HEADER_BYTES + int(name_and_extra.sum())


def _parse_header(name: str, head: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran order, type, and the offset of the first element in bytes."""
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
        if min(shape, default=0) < 0:
            raise ValueError("a negative size")
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError):
        raise WorkError(
            f"{name} is not a NumPy array, or its header is damaged; restore the file"
        ) from None
    return shape, fortran_order, dtype, stream.tell()

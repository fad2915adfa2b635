"""Numpy's files as a source: an .npz archive, an .npy file, or a folder of .npy files.

Nothing is unpickled, and no array of images is loaded whole.
"""

import dataclasses
import functools
import io
import tokenize
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np
from etils import epath

from components.base import files
from components.base.errors import ConfigError, WorkError
from components.data.examples import SPLITS
from components.sources.array_file import ENDS, StoredArray, opened, read_fully
from components.sources.array_source import (
    SLICE_BYTES,
    ArraySource,
    ArraySplit,
    folder_name,
)
from components.sources.escaping import dataset_name, printable
from components.sources.source import split_named

# Numpy's own readers refuse longer ones.
_HEADER_BYTES = 1 << 14
_KINDS = {
    **dict.fromkeys(("images", "x", "data"), "images"),
    **dict.fromkeys(("labels", "y", "target"), "labels"),
}
_UNDERSTOOD = (
    "train_images, train_labels, val_images, … (MedMNIST), x_train, y_train, x_test, … (Keras), "
    "images and labels, x and y, data and target, or one array alone"
)


def is_arrays(path: epath.Path) -> bool:
    """Whether a path is an .npz or .npy file, or a folder with .npy files directly in it."""
    if path.is_dir():
        return any(_is_npy(file) for file in path.iterdir())
    return path.suffix in (".npz", ".npy")


@dataclasses.dataclass(frozen=True)
class NumpySource(ArraySource):
    """The arrays of an .npz, an .npy, or a folder of .npy files.

    Their names say what they are: those of MedMNIST (`train_images`, `val_labels`, …), of Keras
    (`x_train`, …), `images` and `labels`, `x` and `y`, `data` and `target`; other arrays beside
    them are left alone, and an array alone is the training images whatever its name.

    Images are uint8, uint16 or bool, [N, height, width] or [N, height, width, channels]. Labels
    are integers, [N] or [N, 1]; where an image has several (MedMNIST's chestmnist), the images are
    taken as `unlabelled`.
    """

    @property
    def name(self) -> str:
        return dataset_name(folder_name(self.path) if self.path.is_dir() else self.path.stem)

    @property
    def _files(self) -> list[epath.Path]:
        return sorted({path for path, _ in self._taken.values()})

    @functools.cached_property
    def _taken(self) -> dict[tuple[str, str], tuple[epath.Path, str]]:
        """By split and kind: the file and the member of the archive that it is."""
        found = self._found()
        taken: dict[tuple[str, str], str] = {}
        for name in found:
            if (role := _role(name)) is None:
                continue
            if role in taken:
                raise ConfigError(
                    f"{self.path}: both {taken[role]} and {name} are {' '.join(role)}; "
                    "rename or remove one"
                )
            taken[role] = name
        if not taken and len(found) == 1:
            taken = {("train", "images"): next(iter(found))}
        if not taken or any((split, "images") not in taken for split, _ in taken):
            raise ConfigError(
                f"{self.path} holds {_listed(found) or 'no arrays'}; understood are {_UNDERSTOOD}"
            )
        return {role: found[name] for role, name in taken.items()}

    def _found(self) -> dict[str, tuple[epath.Path, str]]:
        """Every array's name, with its file and the member of the archive that it is."""
        if self.path.is_dir():
            files = [path for path in sorted(self.path.iterdir()) if _is_npy(path)]
            return {path.stem: (path, "") for path in files}
        if self.path.suffix == ".npy":
            return {self.path.stem: (self.path, "")}
        with opened(self.path) as file, zipfile.ZipFile(file) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
        return {member.removesuffix(".npy"): (self.path, member) for member in members}

    @functools.cached_property
    def _splits(self) -> Mapping[str, ArraySplit]:
        splits = {}
        for split in SPLITS:
            if (split, "images") not in self._taken:
                continue
            labels = None
            if (split, "labels") in self._taken:
                labels = _array(*self._taken[split, "labels"], whole=True)
                is_one_each = len(labels.shape) == 1 or labels.shape[1:] == (1,)
                labels = labels if is_one_each else None
            splits[split] = ArraySplit(_array(*self._taken[split, "images"]), labels)
        return splits


def _is_npy(path: epath.Path) -> bool:
    return path.suffix == ".npy" and not path.name.startswith(".")


def _role(name: str) -> tuple[str, str] | None:
    """The split and the kind that an array's name means: `x_train` -> (train, images)."""
    match name.lower().split("_"):
        case [kind] if kind in _KINDS:
            return "train", _KINDS[kind]
        case [one, other]:
            for kind, part in ((one, other), (other, one)):
                if kind in _KINDS and (split := split_named(part)):
                    return split, _KINDS[kind]
    return None


def _listed(names: Iterable[str], count: int = 12) -> str:
    names = [printable(name) for name in names]
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if names[count:] else "")


def _array(path: epath.Path, member: str, *, whole: bool = False) -> StoredArray:
    """The header of an array. With `whole` it will not be read in slices.

    Raises:
      ConfigError: it is an array of objects, or lies in Fortran's order.
      WorkError: it is none, or its header says other than what is there.
    """
    name = f"{path}: {printable(member.removesuffix('.npy'))}" if member else f"{path}"
    with opened(path, member) as stream:
        head, flaw = read_fully(stream, _HEADER_BYTES)
    if flaw not in ("", ENDS):
        raise WorkError(f"{name} cannot be read: {flaw}; restore the file")
    shape, fortran_order, dtype, start = _header(name, bytes(head))
    if dtype.hasobject:
        raise ConfigError(f"{name} holds Python objects, which are never loaded; save numbers")
    if not shape:
        raise ConfigError(f"{name} is a single number; images have [N, height, width]")
    if fortran_order and len(shape) > 1:
        raise ConfigError(
            f"{name} lies in Fortran's order; save it again after np.ascontiguousarray"
        )
    if not member:
        array = StoredArray(name, path, "", shape, dtype, start, cuttable=True)
        array.check_size(files.status(path).size - start)
        return array
    array = StoredArray(name, path, member, shape, dtype, start, cuttable=False)
    with opened(path) as file, zipfile.ZipFile(file) as archive:
        info = archive.getinfo(member)
        array.check_size(info.file_size - start)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size <= SLICE_BYTES or whole:
            return array
        file.seek(info.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")
    # What is stored lies in the archive as in a file of its own. Many workers can read that, at
    # the price of zip's checksum.
    start += info.header_offset + 30 + int(lengths.sum())
    return StoredArray(name, path, "", shape, dtype, start, cuttable=True)


def _header(name: str, head: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran's order, type, and the byte at which the numbers begin."""
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
            f"{name} is no array of numpy's, or its header is damaged; restore the file"
        ) from None
    return shape, fortran_order, dtype, stream.tell()

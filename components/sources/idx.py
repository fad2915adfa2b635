"""IDX files, plain or gzipped, as a source: MNIST and datasets in its format.

The format: http://yann.lecun.com/exdb/mnist/. A header of two zero bytes, the type of the elements,
the number of dimensions and their sizes (big-endian uint32) is followed by the elements, row by
row.
"""

import dataclasses
import functools
import gzip
import re
import struct
from collections.abc import Mapping

import numpy as np
from etils import epath

from components.base import console, files
from components.base.errors import ConfigError, WorkError
from components.data.examples import SPLITS
from components.sources.array_file import StoredArray, open_stream, read_up_to
from components.sources.array_source import ArraySource, ArraySplit, one_hot_classes
from components.sources.escaping import to_dataset_name
from components.sources.source import folder_name, split_from_name

_NAME = re.compile(
    r"(?!\.)(?:(?P<prefix>.+)[-_.])?(?P<split>[a-z0-9]+)[-_.](?P<kind>images|labels)"
    r"[-_.]idx\d-[a-z0-9]+(?:\.gz)?",
    re.IGNORECASE,
)
_QMNIST_COLUMNS = 8  # The class, the writer, and so on: https://github.com/facebookresearch/qmnist
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# IDX has no code for unsigned 16-bit numbers, but pixels are never negative.
_IMAGE_TYPES = _TYPES | {0x0B: ">u2"}


@dataclasses.dataclass(frozen=True)
class _IdxFiles:
    """The files of one dataset.

    Attributes:
      folder: the folder that holds the files.
      prefix: the part of their names before the split; "" if the names begin with the split.
      by_role: the files by (split, "images" or "labels").
    """

    folder: epath.Path
    prefix: str
    by_role: dict[tuple[str, str], epath.Path]


def is_idx(path: epath.Path) -> bool:
    """Whether a path is an IDX file of images or labels by its name, or a folder that has one."""
    candidates = path.iterdir() if path.is_dir() else [path]
    return any(_NAME.fullmatch(file.name) for file in candidates)


@dataclasses.dataclass(frozen=True)
class IdxSource(ArraySource):
    """IDX files with names like MNIST's: `train-images-idx3-ubyte.gz`, `t10k-labels.idx1-ubyte`.

    A folder may hold several datasets whose names have different prefixes, such as
    `emnist-balanced-train-images-idx3-ubyte`; the path of any of its files then selects a dataset.
    Labels are optional; the images of a split without labels are `unlabelled`. QMNIST has eight
    numbers per label, of which the first is the class. One-hot labels become class numbers.

    Images have 8 or 16 bits, shape [N, height, width] or [N, height, width, channels]. They are
    not transposed: those of EMNIST are stored transposed, and TFDS's emnist leaves them so too.
    """

    @property
    def name(self) -> str:
        return to_dataset_name(f"{folder_name(self._idx_files.folder)}-{self._idx_files.prefix}")

    @property
    def _files(self) -> list[epath.Path]:
        return sorted(self._idx_files.by_role.values())

    @functools.cached_property
    def _idx_files(self) -> _IdxFiles:
        """The files that the path selects.

        Raises:
          ConfigError: there are none, or they belong to several datasets.
        """
        folder = self.path if self.path.is_dir() else self.path.parent
        selected = _NAME.fullmatch(self.path.name) if self.path.is_file() else None
        by_prefix: dict[str, list[tuple[epath.Path, re.Match[str]]]] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            match = _NAME.fullmatch(path.name)
            if not match or not path.is_file():
                continue
            if path.parent == self.path or (selected and match["prefix"] == selected["prefix"]):
                by_prefix.setdefault(match["prefix"] or "", []).append((path, match))
        if not by_prefix:
            raise ConfigError(
                f"{self.path} is not an IDX file or a folder of IDX files; name them like MNIST's: "
                "train-images-idx3-ubyte or train-images-idx3-ubyte.gz"
            )
        if len(by_prefix) > 1:
            examples = [matches[0][0].name for matches in by_prefix.values()]
            raise ConfigError(
                f"{folder} holds several datasets; select one by the path of one of its files: "
                f"{', '.join(examples)}"
            )
        [(prefix, matches)] = by_prefix.items()
        return _IdxFiles(folder, prefix, _by_role(matches))

    @functools.cached_property
    def _splits(self) -> Mapping[str, ArraySplit]:
        by_role = self._idx_files.by_role
        splits = {}
        for split in SPLITS:
            if (split, "images") not in by_role:
                continue
            labels = None
            if (split, "labels") in by_role:
                labels = _read_header(by_role[split, "labels"], _TYPES)
                self._check_labels_load(labels)
                _check_label_shape(labels)
            images = _read_header(by_role[split, "images"], _IMAGE_TYPES)
            splits[split] = ArraySplit(self._arrange(images), labels)
        return splits


def _by_role(matches: list[tuple[epath.Path, re.Match[str]]]) -> dict[tuple[str, str], epath.Path]:
    """The files by (split, "images" or "labels").

    Raises:
      ConfigError: a name has an unknown split, two files have the same role, or labels have no
        images.
    """
    by_role: dict[tuple[str, str], epath.Path] = {}
    for path, match in matches:
        split = split_from_name(match["split"])
        if split is None:
            raise ConfigError(
                f"{path}: {match['split']!r} is not the name of a split; remove the file, or name "
                "the split train, validation or test"
            )
        first = by_role.setdefault((split, match["kind"].lower()), path)
        # A file may exist plain and gzipped. The plain one comes first, and is read in parallel.
        if path.name not in (first.name, f"{first.name}.gz"):
            raise ConfigError(f"{first} and {path} are both {split}; remove one of them")
    for split, kind in by_role:
        if (split, "images") not in by_role:
            raise ConfigError(
                f"{by_role[split, kind]}: the file with the images of these labels is missing; add "
                "it, or remove the labels"
            )
    return by_role


def _check_label_shape(labels: StoredArray) -> None:
    """Raises ConfigError unless an array has the shape of labels; warns of several per image."""
    if len(labels.shape) > 2 or labels.shape[1:] == (0,):
        raise ConfigError(f"{labels.name} has shape {labels.shape}; save labels with shape [N]")
    columns = labels.shape[1] if len(labels.shape) == 2 else 1
    if columns not in (1, _QMNIST_COLUMNS) and one_hot_classes(labels) is None:
        console.warn(
            f"{labels.name} holds {columns} numbers per image, of which the first is read as its "
            "class; to use another one, save it with shape [N]"
        )


def _read_header(path: epath.Path, types: Mapping[int, str]) -> StoredArray:
    """Reads the header of an IDX file.

    Args:
      path: the file.
      types: the NumPy type for each type code of IDX.

    Raises:
      WorkError: it is not an IDX file, or its size is not the one in its header.
    """
    with open_stream(path) as stream:
        magic, flaw = read_up_to(stream, 4)
        if flaw or magic[:2] != b"\0\0" or magic[2] not in types or magic[3] == 0:
            detail = flaw or f"it begins with the bytes {magic.hex(' ')}"
            raise WorkError(f"{path} is not an IDX file: {detail}; restore the file")
        sizes, flaw = read_up_to(stream, 4 * magic[3])
        is_gzipped = isinstance(stream, gzip.GzipFile)
    if flaw:
        raise WorkError(f"the header of {path} is incomplete: {flaw}; restore the file")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    start = len(magic) + len(sizes)
    dtype = np.dtype(types[magic[2]])
    array = StoredArray(str(path), path, "", shape, dtype, start, seekable=not is_gzipped)
    if not is_gzipped:
        array.check_size(files.stat(path).size - start)
    return array

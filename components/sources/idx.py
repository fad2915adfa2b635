"""IDX files, plain or gzipped, as a source: MNIST and its family."""

import dataclasses
import functools
import gzip
import re
import struct
from collections.abc import Mapping

import numpy as np
from etils import epath

from components.base import files
from components.base.errors import ConfigError, WorkError
from components.data.examples import SPLITS
from components.sources.array_file import StoredArray, opened, read_fully
from components.sources.array_source import ArraySource, ArraySplit, folder_name
from components.sources.escaping import dataset_name
from components.sources.source import split_named

_NAME = re.compile(
    r"(?!\.)(?:(?P<prefix>.+)[-_.])?(?P<split>[a-z0-9]+)[-_.](?P<kind>images|labels)"
    r"[-_.]idx\d-[a-z0-9]+(?:\.gz)?",
    re.IGNORECASE,
)
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# IDX knows no unsigned 16-bit numbers, and pixels no negative ones.
_IMAGE_TYPES = _TYPES | {0x0B: ">u2"}


def is_idx(path: epath.Path) -> bool:
    """Whether a path is named as an IDX file of images or labels, or a folder with one in it."""
    files = path.iterdir() if path.is_dir() else [path]
    return any(_NAME.fullmatch(file.name) for file in files)


@dataclasses.dataclass(frozen=True)
class IdxSource(ArraySource):
    """IDX files named as MNIST's are: `train-images-idx3-ubyte.gz`, `t10k-labels.idx1-ubyte`.

    A prefix tells data sets in one folder apart (`emnist-balanced-train-images-idx3-ubyte`): the
    path of one of its files then names the one that is meant. A split's labels may be missing, its
    images are then `unlabelled`. Of QMNIST's labels, eight numbers each, the first is taken.

    Images are of 8 or 16 bits, [N, height, width] or [N, height, width, channels]. They stay as
    they lie: EMNIST's are transposed, as TFDS's emnist leaves them too.
    """

    @property
    def name(self) -> str:
        folder, prefix, _ = self._found
        return dataset_name(f"{folder_name(folder)}-{prefix}")

    @property
    def _files(self) -> list[epath.Path]:
        return sorted(self._found[2].values())

    @functools.cached_property
    def _found(self) -> tuple[epath.Path, str, dict[tuple[str, str], epath.Path]]:
        """The folder, the prefix of the names in it, and the files by split and kind."""
        folder = self.path if self.path.is_dir() else self.path.parent
        named = _NAME.fullmatch(self.path.name) if self.path.is_file() else None
        by_prefix: dict[str, list[tuple[epath.Path, re.Match[str]]]] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            match = _NAME.fullmatch(path.name)
            if not match or not path.is_file():
                continue
            if path.parent == self.path or (named and match["prefix"] == named["prefix"]):
                by_prefix.setdefault(match["prefix"] or "", []).append((path, match))
        if not by_prefix:
            raise ConfigError(
                f"{self.path} is no IDX file and no folder of some; they are named as MNIST's are, "
                "train-images-idx3-ubyte or train-images-idx3-ubyte.gz"
            )
        if len(by_prefix) > 1:
            firsts = [matches[0][0].name for matches in by_prefix.values()]
            raise ConfigError(
                f"{folder} holds several data sets; name one file of the one that is meant: "
                f"{', '.join(firsts)}"
            )
        [(prefix, matches)] = by_prefix.items()
        return folder, prefix, _by_role(matches)

    @functools.cached_property
    def _splits(self) -> Mapping[str, ArraySplit]:
        files = self._found[2]
        splits = {}
        for split in SPLITS:
            if (split, "images") not in files:
                continue
            labels = None
            if (split, "labels") in files:
                labels = _labels(_array(files[split, "labels"], _TYPES))
            splits[split] = ArraySplit(_array(files[split, "images"], _IMAGE_TYPES), labels)
        return splits


def _by_role(matches: list[tuple[epath.Path, re.Match[str]]]) -> dict[tuple[str, str], epath.Path]:
    """The files by split and kind.

    Raises:
      ConfigError: a file's split is unknown, two files are one split's, or labels have no images.
    """
    files: dict[tuple[str, str], epath.Path] = {}
    for path, match in matches:
        split = split_named(match["split"])
        if split is None:
            raise ConfigError(
                f"{path}: {match['split']!r} is no split; remove the file, or name it train, "
                "validation or test"
            )
        there = files.setdefault((split, match["kind"].lower()), path)
        # A file and its gzipped twin are one; the plain one comes first, and is read in parallel.
        if path.name not in (there.name, f"{there.name}.gz"):
            raise ConfigError(f"{there} and {path} are both {split}; remove one")
    for split, kind in files:
        if (split, "images") not in files:
            raise ConfigError(
                f"{files[split, kind]}: its images file is missing; add it, or remove this one"
            )
    return files


def _labels(labels: StoredArray) -> StoredArray:
    """Raises ConfigError unless an array's shape is that of labels."""
    if len(labels.shape) > 2 or labels.shape[1:] == (0,):
        raise ConfigError(f"{labels.name} has shape {labels.shape}; labels have [N]")
    return labels


def _array(path: epath.Path, types: Mapping[int, str]) -> StoredArray:
    """The header of an IDX file: two zeros, the type, the number of sizes, the sizes.

    Raises:
      WorkError: it is no IDX file, or its header says other than what is there.
    """
    with opened(path) as stream:
        magic, flaw = read_fully(stream, 4)
        if flaw or magic[:2] != b"\0\0" or magic[2] not in types or magic[3] == 0:
            found = flaw or f"it begins with {bytes(magic).hex(' ')}"
            raise WorkError(f"{path} is no IDX file: {found}; restore it")
        sizes, flaw = read_fully(stream, 4 * magic[3])
        gzipped = isinstance(stream, gzip.GzipFile)
    if flaw:
        raise WorkError(f"{path} cannot be read beyond its header: {flaw}; restore it")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    start = len(magic) + len(sizes)
    array = StoredArray(str(path), path, "", shape, np.dtype(types[magic[2]]), start, not gzipped)
    if not gzipped:
        array.check_size(files.status(path).size - start)
    return array

"""The index of a compressed file: names, ids and labels of its images.

Prepare sorts examples by a hash of their ids. So the ids are stored in alphabetical order, in which
they compress well, and the hash restores the order of the examples.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from components.base import json_types
from components.base.manifest import is_plain_name
from components.data.examples import SPLITS, hash_ids

_FOLDER, _SHARDS = "folder", "shards"


@dataclasses.dataclass(frozen=True)
class FolderIndex:
    """The names of the images of a folder.

    Attributes:
      names: paths of the PNG files, relative to the folder, in order.
    """

    names: list[str]

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.names)

    def as_json(self) -> dict[str, Any]:
        """The JSON value, which `parse` reads."""
        return {"kind": _FOLDER, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class ShardEntry:
    """A shard.

    Attributes:
      file: its name.
      split: its split.
      sha256: SHA-256 digest of the TFRecord file.
      examples: number of its examples.
      is_by_hash: whether its examples are sorted by the hashes of their ids.
    """

    file: str
    split: str
    sha256: str
    examples: int
    is_by_hash: bool


@dataclasses.dataclass(frozen=True)
class ShardsIndex:
    """The examples of shards, without their images.

    Attributes:
      dataset: name of the dataset.
      class_names: names of the labels, by label; empty if they are not known.
      shards: the shards, in order.
      ids: of all examples, as `stored_ids` gives them for each shard.
      labels: of all examples, in the order of the shards.
    """

    dataset: str
    class_names: list[str]
    shards: list[ShardEntry]
    ids: list[str]
    labels: list[int]

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.ids)

    def as_json(self) -> dict[str, Any]:
        """The JSON value, which `parse` reads."""
        return {"kind": _SHARDS, **dataclasses.asdict(self)}


def stored_ids(ids: Sequence[str]) -> tuple[list[str], bool]:
    """The ids of a shard as the index stores them, and whether their hashes give their order."""
    ordered = sorted(ids)
    is_by_hash = given_ids(ordered, is_by_hash=True) == list(ids)
    return (ordered if is_by_hash else list(ids)), is_by_hash


def given_ids(stored: Sequence[str], *, is_by_hash: bool) -> list[str]:
    """The ids of a shard in their order: what `stored_ids` undoes."""
    if not is_by_hash:
        return list(stored)
    return [stored[row] for row in np.argsort(hash_ids(stored), kind="stable")]


def png_name(name: str) -> str:
    """The path of an image with the extension of PNG in place of its own."""
    return f"{os.path.splitext(name)[0]}.png"


def parse(value: Any, *, images: int) -> FolderIndex | ShardsIndex:
    """The index of a JSON value.

    Args:
      value: the JSON value.
      images: number of images in the file.

    Raises:
      ValueError: it is not an index of that many images, or a name leads out of its folder.
    """
    fields = json_types.parse(dict[str, Any], value)
    kinds: dict[Any, type[FolderIndex] | type[ShardsIndex]] = {
        _FOLDER: FolderIndex,
        _SHARDS: ShardsIndex,
    }
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError("its index is of no known kind")
    index = json_types.parse(kinds[kind], fields, where="index")
    if isinstance(index, FolderIndex):
        names = index.names
    else:
        names = [shard.file for shard in index.shards]
        _check_shards(index)
    if index.images != images or len(set(names)) < len(names):
        raise ValueError("its index is not that of its images")
    for name in names:
        if not is_plain_name(name):
            raise ValueError(f"its index has the name {name[:80]!r}, which leads elsewhere")
    return index


def _check_shards(index: ShardsIndex) -> None:
    """Raises ValueError if the numbers of examples of shards contradict each other."""
    counts = [shard.examples for shard in index.shards]
    if min(counts, default=0) < 1 or not sum(counts) == len(index.ids) == len(index.labels):
        raise ValueError("its index has shards of other examples")
    for shard in index.shards:
        if shard.split not in SPLITS or "/" in shard.file:
            raise ValueError(f"its index has the shard {shard.file[:80]!r} of {shard.split[:80]!r}")
    # Without names, any label that an example can have is valid.
    low, high = (0, len(index.class_names)) if index.class_names else (-(1 << 63), 1 << 63)
    if not all(low <= label < high for label in index.labels):
        raise ValueError("its index has labels without names")

"""The layout of a folder of images: which folders are splits, and which are classes.

`components.sources.folder_inference` infers it from the names of the folders.
"""

import dataclasses
from collections.abc import Collection
from typing import NamedTuple

from components.sources.escaping import escape
from components.sources.folder_names import Folder
from components.sources.source import UNLABELLED
from components.sources.split_names import read_split


class Place(NamedTuple):
    """The place of the files in a folder.

    Attributes:
      split: their split; None if the folder is outside the folders of the splits.
      class_name: their class, escaped.
    """

    split: str | None
    class_name: str


@dataclasses.dataclass(frozen=True)
class FolderLayout:
    """How the folders of a dataset become splits and classes.

    Attributes:
      roots: the folders of the splits, as the user named them, and their splits.
      split_names: without `roots`, the names of the folders of splits, and their splits.
      split_levels: the levels of the path at which these names are; empty if there are none.
      below_split: whether only the levels below the first of `split_levels` may be classes, because
        the levels above it are the same for all folders.
      general: names without meaning and without siblings, like `images` in `cat/images` and
        `dog/images`. An innermost level of such a name is not a class.
      full_paths: whether a class is the whole remaining path, not its last level.
      common: the outermost levels that all of these paths share, which are left out of them.
      label_depth: the level that is the class, as the user set it; None if it is inferred.
    """

    roots: tuple[tuple[Folder, str], ...] = ()
    split_names: tuple[tuple[str, str], ...] = ()
    split_levels: tuple[int, ...] = ()
    below_split: bool = True
    general: frozenset[str] = frozenset()
    full_paths: bool = False
    common: Folder = ()
    label_depth: int | None = None

    def place(self, folder: Folder) -> Place:
        """The split and the class of the files in a folder."""
        split, levels = self.locate(folder)
        if self.label_depth is not None:
            chosen = levels[self.label_depth - 1 : self.label_depth] if self.label_depth else ()
        else:
            levels = without_general_ending(levels, self.general)
            chosen = self._without_common(levels) if self.full_paths else levels[-1:]
        return Place(split, escape("/".join(chosen)) if chosen else UNLABELLED)

    @property
    def has_splits(self) -> bool:
        """Whether folders say which split an image is in; otherwise all images are train."""
        return bool(self.roots or self.split_levels)

    def split_folders(self) -> dict[str, list[str]]:
        """For each split, the names of its folders: paths in `roots`, otherwise single names."""
        found: dict[str, list[str]] = {}
        for folder, split in self.roots:
            found.setdefault(split, []).append("/".join(folder) or ".")
        for name, split in self.split_names:
            found.setdefault(split, []).append(name)
        return found

    def locate(self, folder: Folder) -> tuple[str | None, Folder]:
        """The split of a folder, and the levels of its path that may be its class."""
        if self.roots:
            matches = [root for root in self.roots if folder[: len(root[0])] == root[0]]
            if not matches:
                return None, folder
            root, root_split = max(matches, key=lambda match: len(match[0]))
            return root_split, folder[len(root) :]
        if not self.split_levels:
            return "train", folder
        level = self.split_levels[0]
        split = self._split_of_name(folder[level]) if len(folder) > level else None
        if split is None:
            return None, folder
        first = level if self.below_split else 0
        rest = tuple(
            name
            for number, name in enumerate(folder)
            if number >= first and number not in self.split_levels
        )
        return split, rest

    def _without_common(self, levels: Folder) -> Folder:
        size = len(self.common)
        return levels[size:] if levels[:size] == self.common else levels

    def _split_of_name(self, name: str) -> str | None:
        """The split of a folder; by its name alone if none of its files is an image."""
        if split := dict(self.split_names).get(name):
            return split
        reading = read_split(name)
        return reading.split if reading and reading.is_plain else None


def without_general_ending(levels: Folder, general: Collection[str]) -> Folder:
    """A path without its innermost levels, as long as their names are in `general`."""
    while levels and levels[-1] in general:
        levels = levels[:-1]
    return levels

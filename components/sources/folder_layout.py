"""The layout of a folder of images: which folders are splits, and which are classes.

A layout is inferred from the names of the folders that hold images, once, before the work. What
may be read in two ways is an error that names the option that settles it: a wrong guess would put
test images into train, or masks among the photos.

A folder is a tuple of the names on its path below the dataset: `train/cat` is ("train", "cat").
"""

import collections
import dataclasses
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from components.base.errors import ConfigError
from components.data.examples import SPLITS
from components.sources.escaping import escape
from components.sources.source import UNLABELLED, split_from_name
from components.sources.split_names import SplitReading, is_fold, is_generic, read_split

_MAX_LISTED = 6  # folders in a message
_MAX_NAME = 60  # characters of a folder in a message

# Files and folders that operating systems and network drives leave behind.
_LEFTOVERS = {
    *("@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information"),
    *("lost+found", "__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
    "icon\r",
}
_IMAGE_FOLDERS = {
    *("image", "images", "img", "imgs", "jpegimages", "photo", "photos", "picture", "pictures"),
    *("input", "inputs", "original", "originals", "rgb"),
}
_MASK_FOLDERS = {
    *("mask", "masks", "label", "labels", "annotation", "annotations", "gt", "ground_truth"),
    *("groundtruth", "ground-truth", "ground truth", "segmentation", "segmentations"),
    *("segmentationclass", "segmentationobject", "seg", "target", "targets", "output", "outputs"),
}

Folder = tuple[str, ...]


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
      below_split: whether only the levels below the first of `split_levels` may be classes,
        because all that is above it is the same for all folders.
      constant: levels that are the same everywhere and are no classes, in the order of their
        removal: the index of the level, 0 or -1, and its name.
      full_paths: whether a class is the whole remaining path, not its last level.
      label_depth: the level that is the class, as the user set it; None if it is inferred.
    """

    roots: tuple[tuple[Folder, str], ...] = ()
    split_names: tuple[tuple[str, str], ...] = ()
    split_levels: tuple[int, ...] = ()
    below_split: bool = True
    constant: tuple[tuple[int, str], ...] = ()
    full_paths: bool = False
    label_depth: int | None = None

    def place(self, folder: Folder) -> Place:
        """The split and the class of the files in a folder."""
        split, levels = self.locate(folder)
        if self.label_depth is not None:
            chosen = levels[self.label_depth - 1 : self.label_depth] if self.label_depth else ()
        else:
            for index, name in self.constant:
                levels = _without_level(levels, index, name)
            chosen = levels if self.full_paths else levels[-1:]
        return Place(split, escape("/".join(chosen)) if chosen else UNLABELLED)

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

    def _split_of_name(self, name: str) -> str | None:
        """The split of a folder; by its name alone if none of its files is an image."""
        if split := dict(self.split_names).get(name):
            return split
        reading = read_split(name)
        return reading.split if reading and reading.is_plain else None


def is_leftover(name: str) -> bool:
    """Whether a file's relative path leads to what a system left behind, such as `Thumbs.db`."""
    return any(part.lower() in _LEFTOVERS for part in name.split("/"))


def parse_splits(text: str) -> tuple[tuple[Folder, str], ...]:
    """Parses `train=DIR,test=DIR`, in the order of the splits; a split may have several folders.

    Raises:
      ConfigError: the text has another form, or names a folder twice.
    """
    roots: dict[Folder, str] = {}
    for part in re.split(r",(?=\s*\w+=)", text) if text else []:
        name, _, directory = part.strip().partition("=")
        folder = tuple(level for level in directory.split("/") if level not in ("", "."))
        split = split_from_name(name)
        if split is None or not directory or directory.startswith("/") or ".." in folder:
            raise ConfigError(
                "--splits must be train=DIR,validation=DIR,test=DIR with folders relative to the "
                f"dataset. Received: {text!r}"
            )
        if folder in roots:
            raise ConfigError(f"--splits names the folder {directory!r} twice: {text!r}")
        roots[folder] = split
    return tuple(sorted(roots.items(), key=lambda root: (SPLITS.index(root[1]), root[0])))


def format_splits(roots: Iterable[tuple[Folder, str]]) -> str:
    """The text that `parse_splits` parses: `train=images/train,test=images/test`."""
    return ",".join(f"{split}={escape('/'.join(folder)) or '.'}" for folder, split in roots)


def infer(
    folders: Iterable[Folder],
    *,
    roots: tuple[tuple[Folder, str], ...] = (),
    label_depth: int | None = None,
) -> FolderLayout:
    """Infers the layout of a dataset.

    Args:
      folders: the folders that hold images; if there are none, the layout is that of one split
        without classes.
      roots: the folders of the splits, if the user named them.
      label_depth: the level below the split that is the class, if the user set it; 0 for no
        classes.

    Raises:
      ConfigError: the folders may be read in several ways, or do not match `roots` or
        `label_depth`.
    """
    folders = sorted(set(folders))
    if not folders and not roots:
        return FolderLayout()
    if roots:
        layout = FolderLayout(roots=roots)
        _check_roots(layout, folders)
        folders = [folder for folder in folders if layout.locate(folder)[0]]
        if label_depth is None:
            _check_no_splits_below(roots, folders)
    else:
        layout = _find_splits(folders)
    located = {folder: layout.locate(folder)[1] for folder in folders}
    if label_depth is not None:
        _check_label_depth(label_depth, located.values())
        return dataclasses.replace(layout, label_depth=label_depth)
    _check_masks(layout, folders)
    constant, paths = _constant_levels(set(located.values()))
    last_levels = collections.Counter(path[-1] for path in paths if path)
    full_paths = any(count > 1 for count in last_levels.values())
    return dataclasses.replace(layout, constant=constant, full_paths=full_paths)


def _check_roots(layout: FolderLayout, folders: Sequence[Folder]) -> None:
    for root, split in layout.roots:
        if not any(
            folder[: len(root)] == root and layout.locate(folder)[0] == split for folder in folders
        ):
            raise ConfigError(
                f"--splits: no images in {_path(root)} for {split}; folders with images: "
                f"{_listed(folders) or 'none'}"
            )


def _check_label_depth(depth: int, paths: Collection[Folder]) -> None:
    deepest = max(map(len, paths), default=0)
    if depth > deepest:
        raise ConfigError(
            f"--label_depth {depth}: images are at most {deepest} folders below their split; "
            f"choose 0 to {deepest}"
        )


def _check_masks(layout: FolderLayout, folders: Iterable[Folder]) -> None:
    """Raises ConfigError if masks would become images of a class of their own."""
    children = collections.defaultdict(set)
    for folder in folders:
        for level, name in enumerate(folder):
            children[folder[:level]].add(name)
    for parent, names in sorted(children.items()):
        masks = sorted(name for name in names if name.lower() in _MASK_FOLDERS)
        images = sorted(name for name in names if name.lower() in _IMAGE_FOLDERS)
        if masks and images:
            raise ConfigError(
                f"{_path((*parent, masks[0]))} beside {_path((*parent, images[0]))} seems to hold "
                "masks or other targets; to leave it out, name the folders to read, as in "
                f"--splits {_splits_in((*parent, images[0]), folders)}; if both are classes, use "
                "--label_depth N"
            )


def _splits_in(parent: Folder, folders: Iterable[Folder]) -> str:
    """The --splits that reads a folder: its folders of splits, or all of it as train."""
    names = {folder[len(parent)] for folder in folders if folder[: len(parent)] == parent != folder}
    readings = {name: read_split(name) for name in sorted(names)}
    if all(reading and reading.is_plain and reading.split for reading in readings.values()):
        by_split = {reading.split: (*parent, name) for name, reading in readings.items() if reading}
        if by_split:
            return format_splits((by_split[split], split) for split in SPLITS if split in by_split)
    return format_splits([(parent, "train")])


def _check_no_splits_below(
    roots: tuple[tuple[Folder, str], ...], folders: Sequence[Folder]
) -> None:
    """Raises ConfigError if a folder that the user named as a split holds only folders of splits.

    `train=.` says that all folders are classes, whatever their names.
    """
    for root, split in roots:
        inner = _splits_in(root, folders)
        if root and len(parse_splits(inner)) > 1:
            raise ConfigError(
                f"--splits {split}={_path(root)}: the folders in it seem to be splits; use "
                f"--splits {inner}, or --label_depth N if they are classes"
            )


def _constant_levels(paths: set[Folder]) -> tuple[tuple[tuple[int, str], ...], set[Folder]]:
    """Removes levels that are the same on all paths, as far as the paths stay different.

    The innermost levels are removed if their names say nothing (`cat/images`, `dog/images`), since
    in `shoes/red` and `bags/red` the color is worth keeping. Then the outermost ones are removed,
    but no name that says something is removed from a path that has no other.

    Returns:
      The removed levels, as in `FolderLayout.constant`, and the remaining paths.
    """
    removed: list[tuple[int, str]] = []
    # `val/cat` beside `train/cat/images`: a name that says nothing is no class of its own.
    for name in _generic_endings(paths):
        removed.append((-1, name))
        paths = {_without_level(path, -1, name) for path in paths}
    for index in (-1, 0):
        while any(paths):
            name = min(path[index] for path in paths if path)
            shorter = {_without_level(path, index, name) for path in paths}
            if not is_generic(name) and (index == -1 or any(len(path) == 1 for path in paths)):
                break
            if any(path and path[index] != name for path in paths) or len(shorter) < len(paths):
                break
            removed.append((index, name))
            paths = shorter
    return tuple(removed), paths


def _generic_endings(paths: set[Folder]) -> list[str]:
    """The innermost levels that say nothing and have no other level beside them."""
    siblings = collections.defaultdict(set)
    for path in paths:
        if len(path) > 1:
            siblings[path[:-1]].add(path[-1])
    names = {path[-1] for path in paths if len(path) > 1 and is_generic(path[-1])}
    return sorted(
        name
        for name in names
        if (name,) not in paths
        and all(found == {name} for found in siblings.values() if name in found)
    )


def _without_level(path: Folder, index: int, name: str) -> Folder:
    if not path or path[index] != name:
        return path
    return path[1:] if index == 0 else path[:-1]


def _find_splits(folders: Sequence[Folder]) -> FolderLayout:
    """The layout of the splits that the names of folders say."""
    marks = _marks(folders)
    if not marks:
        return FolderLayout()
    level = next(
        (
            number
            for number in range(max(map(len, folders)))
            if all(
                len(folder) > number and _is_certain(marks.get((number, folder[number])))
                for folder in folders
            )
        ),
        None,
    )
    if level is None:
        raise _incomplete(folders, marks)
    split_of = {folder: marks[level, folder[level]].reading.split or "" for folder in folders}
    names: dict[str, str] = {folder[level]: split for folder, split in split_of.items()}
    _check_one_folder_per_split(names)
    _check_parents(folders, level, names)
    repeated = [level]
    for other in sorted({number for number, _ in marks} - {level}):
        if _repeats(folders, marks, split_of, level, other):
            repeated.append(other)
    return FolderLayout(
        split_names=tuple(sorted(names.items())),
        split_levels=tuple(repeated),
        below_split=len({folder[:level] for folder in folders}) == 1,
    )


class _Mark(NamedTuple):
    """A name that may be that of a split; `is_certain` unless it is like the name of a class."""

    reading: SplitReading
    is_certain: bool


def _is_certain(mark: _Mark | None) -> bool:
    return mark is not None and mark.is_certain


def _marks(folders: Iterable[Folder]) -> dict[tuple[int, str], _Mark]:
    """The names that look like those of splits, by level and name."""
    names = {(level, name) for folder in folders for level, name in enumerate(folder)}
    readings = {key: reading for key in names if (reading := read_split(key[1]))}
    splits_by_rest = collections.defaultdict(set)
    for (level, _), reading in readings.items():
        splits_by_rest[level, reading.rest].add(reading.split)
    marks = {}
    for (level, name), reading in readings.items():
        # `flowers_train` is certain only beside `flowers_test`.
        has_partner = len(splits_by_rest[level, reading.rest] - {None}) > 1
        is_certain = reading.split is not None and (reading.is_plain or has_partner)
        # Alone, `train_station` is a class. `test_tube` may be one, but its images may be a test
        # split too, which must not join train.
        if is_certain or reading.split != "train":
            marks[level, name] = _Mark(reading, is_certain)
    return marks


def _repeats(
    folders: Sequence[Folder],
    marks: dict[tuple[int, str], _Mark],
    split_of: dict[Folder, str],
    level: int,
    other: int,
) -> bool:
    """Whether another level repeats the name of the split everywhere: `seg_train/seg_train`.

    Raises:
      ConfigError: another level says another split.
    """
    marked = [
        folder for folder in folders if len(folder) > other and (other, folder[other]) in marks
    ]
    several_splits = len(set(split_of.values())) > 1
    is_container = len({folder[: other + 1] for folder in folders}) == 1 and other < level
    for folder in marked:
        name = folder[other]
        mark = marks[other, name]
        if mark.reading.split == split_of[folder]:
            continue
        if is_container and several_splits and not mark.is_certain:
            continue  # The dataset's own name: `train_test_split/train`.
        if _is_class_named_train(folder, other, mark, folders, split_of):
            continue
        raise _doubt(
            f"{_path(folder[: level + 1])} seems to be {split_of[folder]}, and "
            f"{_path(folder[: other + 1])} {mark.reading.split or 'held out'}"
        )
    return len(marked) == len(folders) and all(
        marks[other, folder[other]].reading.split == split_of[folder] for folder in folders
    )


def _is_class_named_train(
    folder: Folder,
    level: int,
    mark: _Mark,
    folders: Sequence[Folder],
    split_of: dict[Folder, str],
) -> bool:
    """Whether a folder is the class of trains, which is in the train split too: `test/train`."""
    if mark.reading.split != "train":
        return False
    name = folder[level]
    siblings = {other[level] for other in folders if len(other) > level}
    in_train = any(
        split == "train" and len(other) > level and other[level] == name
        for other, split in split_of.items()
    )
    return in_train and any(read_split(sibling) is None for sibling in siblings)


def _check_one_folder_per_split(names: dict[str, str]) -> None:
    """Raises ConfigError if names of splits differ in more than the split: `trainA`, `testB`."""
    letters = {
        tuple(word for word in reading.rest if len(word) == 1 and word.isalpha())
        for name in names
        if (reading := read_split(name))
    }
    if len(names) > len(set(names.values())) or len(letters) > 1:
        found = ", ".join(f"{_short(name)} ({split})" for name, split in sorted(names.items()))
        raise _doubt(f"the folders {found} may be splits or parts of different kinds")


def _check_parents(folders: Sequence[Folder], level: int, names: dict[str, str]) -> None:
    """Raises ConfigError if the folders above those of the splits can be no classes."""
    splits = collections.defaultdict(set)
    for folder in folders:
        splits[folder[:level]].add(names[folder[level]])
    if len(splits) == 1:
        return
    found = _listed({folder[: level + 1] for folder in folders})
    if any(is_fold(name) for parent in splits for name in parent):
        raise _doubt(f"{found} seem to be folds of the same images, each with splits of its own")
    if len(set(names.values())) > 1 and max(map(len, splits.values())) == 1:
        raise _doubt(
            f"the splits {found} are in different folders, which may or may not be classes"
        )


def _incomplete(folders: Sequence[Folder], marks: dict[tuple[int, str], _Mark]) -> ConfigError:
    """The error if some folders have the names of splits, and others are outside them."""
    # The level with the most certain names, and the outermost of these.
    certain = collections.Counter(level for (level, _), mark in marks.items() if mark.is_certain)
    level = min(certain or {level: 0 for level, _ in marks}, key=lambda n: (-certain[n], n))
    inside: set[Folder] = set()
    outside: set[Folder] = set()
    for folder in folders:
        is_inside = len(folder) > level and (level, folder[level]) in marks
        (inside if is_inside else outside).add(folder[: level + 1])
    unclear = {folder for folder in inside if not marks[level, folder[level]].is_certain}
    if unclear:
        return _doubt(
            f"{_listed(unclear)} may be a split or a class; folders with images: "
            f"{_listed({folder[: level + 1] for folder in folders})}",
            roots=_suggestion(inside - unclear, marks, level),
        )
    seem = "seem to be splits" if len(inside) > 1 else "seems to be a split"
    return _doubt(
        f"{_listed(inside)} {seem}, but there are images outside, in {_listed(outside)}",
        roots=_suggestion(inside, marks, level),
    )


def _suggestion(folders: Iterable[Folder], marks: dict[tuple[int, str], _Mark], level: int) -> str:
    """The value of --splits for folders whose names say their splits."""
    by_split: dict[str, Folder] = {}
    for folder in sorted(folders):
        by_split.setdefault(marks[level, folder[level]].reading.split or "", folder)
    return format_splits((by_split[split], split) for split in SPLITS if split in by_split)


def _doubt(found: str, *, roots: str = "") -> ConfigError:
    return ConfigError(
        f"{found}; name the folders to read with --splits {roots or 'train=DIR,test=DIR'} (others "
        "are left out), or use --splits train=. if all of them are classes"
    )


def _listed(folders: Iterable[Folder]) -> str:
    """Some folders for a message: `a, b, c, … (12 folders)`."""
    listed = sorted(folders)
    text = ", ".join(map(_path, listed[:_MAX_LISTED]))
    return text if len(listed) <= _MAX_LISTED else f"{text}, … ({len(listed):,} folders)"


def _path(folder: Folder) -> str:
    return _short("/".join(folder)) or "."


def _short(name: str) -> str:
    escaped = escape(name)
    return escaped if len(escaped) <= _MAX_NAME else f"{escaped[: _MAX_NAME - 1]}…"

"""A short text that says how a folder of images was understood."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from components.sources.escaping import escape
from components.sources.folder_layout import FolderLayout

_MAX_CLASSES = 6  # listed for each split
_MAX_NAME = 40  # characters of a class or a file
_MAX_LISTED = 4  # names of what is ignored, and folders of a split


@dataclasses.dataclass(frozen=True)
class Ignored:
    """The content of a folder that is not read.

    Attributes:
      leftovers: paths of files that operating systems created.
      hidden: names of hidden files and folders.
      repeated: paths of links to folders that are read under another name.
      outside: number of files outside the folders of the splits that the user named.
    """

    leftovers: Sequence[str] = ()
    hidden: Sequence[str] = ()
    repeated: Sequence[str] = ()
    outside: int = 0


def describe(
    folders_by_split: Mapping[str, Iterable[str]],
    layout: FolderLayout,
    *,
    class_names: Sequence[str],
    ignored: Ignored,
) -> list[str]:
    """Describes the splits and classes of a folder, and what is ignored in it.

    Args:
      folders_by_split: for each split, the folder of each of its files.
      layout: the layout of the folder.
      class_names: names of the classes.
      ignored: what is not read.

    Returns:
      At most eight lines.
    """
    known = set(class_names)
    split_folders = layout.split_folders()
    lines = []
    without_class = 0
    for split, folders in folders_by_split.items():
        by_class: collections.Counter[str] = collections.Counter()
        for folder, count in collections.Counter(folders).items():
            place = layout.place(tuple(folder.split("/")) if folder else ())
            if place.split and place.class_name in known:
                by_class[place.class_name] += count
            else:
                without_class += count
        names = split_folders.get(split, [split])
        named = "" if names == [split] else f" ({_listed(names)})"
        lines.append(
            f"  {split}{named}: {_counted(by_class.total(), 'file')} in {_classes(by_class)}"
        )
    if layout.full_paths:
        lines.append(
            "  classes are paths, because folders of one name have different parents; "
            "--label_depth N takes one level"
        )
    if without_class:
        lines.append(
            f"  {_counted(without_class, 'file')} in folders without images: to the quarantine"
        )
    if text := _ignored_text(ignored):
        lines.append(f"  ignored: {text}")
    return lines


def _classes(by_class: collections.Counter[str]) -> str:
    """The classes with their numbers of files, as far as there is space."""
    listed = sorted(by_class.items())[:_MAX_CLASSES]
    text = ", ".join(f"{_short(name)} {count:,}" for name, count in listed)
    more = f", … {len(by_class) - len(listed):,} more" if len(by_class) > len(listed) else ""
    return f"{_counted(len(by_class), 'class', 'classes')}: {text}{more}"


def _ignored_text(ignored: Ignored) -> str:
    parts = []
    if leftovers := ignored.leftovers:
        names = _listed(name.rpartition("/")[2] for name in leftovers)
        parts.append(f"{_counted(len(leftovers), 'file')} that systems leave behind ({names})")
    if ignored.hidden:
        parts.append(f"{len(ignored.hidden):,} hidden")
    if repeated := ignored.repeated:
        links = _counted(len(repeated), "link")
        parts.append(f"{links} to folders that are read under another name ({_listed(repeated)})")
    if ignored.outside:
        parts.append(f"{_counted(ignored.outside, 'file')} outside the folders of --splits")
    return ", ".join(parts)


def _listed(names: Iterable[str]) -> str:
    """The first different names in order."""
    ordered = sorted({_short(escape(name)) for name in names})
    return ", ".join(ordered[:_MAX_LISTED]) + (", …" if len(ordered) > _MAX_LISTED else "")


def _counted(count: int, singular: str, plural: str = "") -> str:
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"

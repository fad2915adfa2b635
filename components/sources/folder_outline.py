"""A short text that says how a folder of images was understood."""

import collections
from collections.abc import Iterable, Mapping, Sequence

from components.sources.escaping import escape
from components.sources.folder_layout import FolderLayout

_MAX_CLASSES = 6  # listed for each split
_MAX_NAME = 40  # characters of a class or a file
_MAX_LEFTOVERS = 4  # kinds that are listed


def describe(
    folders_by_split: Mapping[str, Iterable[str]],
    layout: FolderLayout,
    *,
    class_names: Sequence[str],
    leftovers: Sequence[str],
    hidden: Sequence[str],
    outside: int,
) -> list[str]:
    """Describes the splits and classes of a folder, and what is ignored in it.

    Args:
      folders_by_split: for each split, the folder of each of its files.
      layout: the layout of the folder.
      class_names: names of the classes.
      leftovers: paths of files that operating systems left behind.
      hidden: names of hidden files and folders.
      outside: number of files outside the folders of the splits that the user named.

    Returns:
      At most eight lines.
    """
    known = set(class_names)
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
        lines.append(f"  {split}: {_counted(by_class.total(), 'file')} in {_classes(by_class)}")
    if layout.full_paths:
        lines.append(
            "  classes are paths, because folders of one name have different parents; "
            "--label_depth N takes one level"
        )
    if without_class:
        lines.append(
            f"  {_counted(without_class, 'file')} in folders without images: to the quarantine"
        )
    if ignored := _ignored(leftovers, hidden, outside):
        lines.append(f"  ignored: {ignored}")
    return lines


def _classes(by_class: collections.Counter[str]) -> str:
    """The classes with their numbers of files, as far as there is space."""
    listed = sorted(by_class.items())[:_MAX_CLASSES]
    text = ", ".join(f"{_short(name)} {count:,}" for name, count in listed)
    more = f", … {len(by_class) - len(listed):,} more" if len(by_class) > len(listed) else ""
    return f"{_counted(len(by_class), 'class', 'classes')}: {text}{more}"


def _ignored(leftovers: Sequence[str], hidden: Sequence[str], outside: int) -> str:
    parts = []
    if leftovers:
        names = sorted({_short(escape(name.rpartition("/")[2])) for name in leftovers})
        listed = ", ".join(names[:_MAX_LEFTOVERS]) + (", …" if len(names) > _MAX_LEFTOVERS else "")
        parts.append(f"{_counted(len(leftovers), 'file')} that systems leave behind ({listed})")
    if hidden:
        parts.append(f"{len(hidden):,} hidden")
    if outside:
        parts.append(f"{_counted(outside, 'file')} outside the folders of --splits")
    return ", ".join(parts)


def _counted(count: int, singular: str, plural: str = "") -> str:
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"

"""The folders of a dataset as tuples of names, and how messages list them.

A folder is a tuple of the names on its path below the dataset: `train/cat` is ("train", "cat").
"""

from collections.abc import Iterable

from components.sources.escaping import escape

_MAX_LISTED = 6  # folders in a message
_MAX_NAME = 60  # characters of a folder in a message

# Files and folders that operating systems and network drives create.
_LEFTOVERS = {
    *("@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information"),
    *("lost+found", "__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
    "icon\r",
}

Folder = tuple[str, ...]


def split_path(path: str) -> Folder:
    """The folder with a path relative to the dataset; "" is the dataset's own folder."""
    return tuple(path.split("/")) if path else ()


def is_leftover(name: str) -> bool:
    """Whether a file's relative path leads to a file that a system created, such as `Thumbs.db`."""
    return any(part.lower() in _LEFTOVERS for part in name.split("/"))


def listed(paths: Iterable[Folder], *, kind: str = "folders") -> str:
    """Some folders, or things of another kind, for a message: `a, b, c, … (12 folders)`."""
    ordered = sorted(paths)
    text = ", ".join(map(path_of, ordered[:_MAX_LISTED]))
    return text if len(ordered) <= _MAX_LISTED else f"{text}, … ({len(ordered):,} {kind})"


def path_of(folder: Folder) -> str:
    """The path of a folder for a message, escaped and shortened; `.` for the dataset's own."""
    return shortened("/".join(folder)) or "."


def shortened(name: str) -> str:
    """A name for a message, escaped and at most 60 characters long."""
    escaped = escape(name)
    return escaped if len(escaped) <= _MAX_NAME else f"{escaped[: _MAX_NAME - 1]}…"

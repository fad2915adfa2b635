"""The folders of the splits as the user names them: `--splits train=DIR,test=DIR`."""

import re
from collections.abc import Iterable, Sequence

from components.base.errors import ConfigError
from components.data.examples import SPLITS
from components.sources.escaping import escape
from components.sources.folder_names import Folder, path_of
from components.sources.source import split_from_name
from components.sources.split_names import read_split


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


def suggest(parent: Folder, folders: Iterable[Folder]) -> str:
    """The --splits that reads a folder: its folders of splits, or all of it as train."""
    names = {folder[len(parent)] for folder in folders if folder[: len(parent)] == parent != folder}
    readings = {name: read_split(name) for name in sorted(names)}
    if all(reading and reading.is_plain and reading.split for reading in readings.values()):
        by_split = {reading.split: (*parent, name) for name, reading in readings.items() if reading}
        if by_split:
            return format_splits((by_split[split], split) for split in SPLITS if split in by_split)
    return format_splits([(parent, "train")])


def check_no_splits_below(roots: tuple[tuple[Folder, str], ...], folders: Sequence[Folder]) -> None:
    """Raises ConfigError if a folder that the user named as a split holds only folders of splits.

    `train=.` says that all folders are classes, whatever their names.
    """
    for root, split in roots:
        inner = suggest(root, folders)
        if root and len(parse_splits(inner)) > 1:
            raise ConfigError(
                f"--splits {split}={path_of(root)}: the folders in it seem to be splits; use "
                f"--splits {inner}, or --label_depth N if they are classes"
            )

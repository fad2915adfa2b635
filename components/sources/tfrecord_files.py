"""Finds the TFRecord files that a user names: a file, a folder, or a pattern with wildcards."""

import concurrent.futures
import glob
import os

from etils import epath

from components.base import files
from components.base.errors import ConfigError, WorkError
from components.base.file_errors import error_reason
from components.sources import dataset_names
from components.sources.escaping import escape
from components.sources.regular_files import check_regular

_THREADS = 8


def root_of(pattern: str) -> epath.Path:
    """The folder that the names of the files are relative to."""
    path = epath.Path(pattern).expanduser()
    if path.is_dir():
        return path
    folder = path.parent
    while dataset_names.has_wildcard(os.fspath(folder)):
        folder = folder.parent
    return folder


def list_tfrecords(pattern: str) -> list[tuple[str, int, float]]:
    """(name, bytes, modification time) of each file, sorted by name.

    Args:
      pattern: a file; a folder, for all files in it with .tfrec in their names; or a path with the
        wildcards * and ?.

    Raises:
      ConfigError: there are no files, or one of them is a pipe, a socket or a device.
      WorkError: a file cannot be accessed.
    """
    root = root_of(pattern)
    path = epath.Path(pattern).expanduser()
    if path.is_dir():
        matches = [entry for entry in path.iterdir() if ".tfrec" in entry.name]
    elif path.exists():
        matches = [path]
    else:
        # In a pattern of this source, [ is not a wildcard.
        wildcards = os.fspath(path.relative_to(root)).replace("[", "[[]")
        matches = list(epath.Path(glob.escape(os.fspath(root))).glob(wildcards))
    matches = sorted(p for p in matches if not p.name.startswith(".") and not p.is_dir())
    if not matches:
        raise ConfigError(
            f"no TFRecord file matches {pattern!r}; pass a file, a folder of files with "
            ".tfrecord in their names, or a pattern with * and ? in quotes"
        )
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        stats = list(pool.map(_stat, matches))
    return [
        (match.relative_to(root).as_posix(), *stat)
        for match, stat in zip(matches, stats, strict=True)
    ]


def _stat(path: epath.Path) -> files.FileStat:
    check_regular(path)
    try:
        return files.stat(path)
    except OSError as error:
        raise WorkError(
            f"cannot read {escape(os.fspath(path))}: {error_reason(error)}; restore the file, or "
            "move it away"
        ) from None

"""fsspec, through which epath reads and writes object stores without TensorFlow."""

import datetime
import os
import sys
from collections.abc import Mapping
from typing import Any

from etils import epath

# By the name of a file system of fsspec.
_SETTINGS: dict[str, dict[str, bool | int]] = {
    # With cached listings, a process does not see the files that others add to a directory after
    # it has listed it once. A block is what is read ahead, and a part of an upload. With 50 MB, the
    # default for S3, reading the index of a file would often read the whole file.
    "s3": {"use_listings_cache": False, "default_block_size": 8 << 20},
    "gs": {"use_listings_cache": False},
    "gcs": {"use_listings_cache": False},
}
# The names that file systems of fsspec give to the time of the last modification: gcsfs the first,
# s3fs the second, adlfs the third. epath itself knows only the first.
_TIMES = ("mtime", "LastModified", "last_modified")


def configure() -> None:
    """Makes fsspec use these settings, unless the user has chosen others.

    Importing fsspec takes time, so that is left to epath, if it needs it. Until then, environment
    variables say what fsspec is to use.
    """
    config = sys.modules.get("fsspec.config")
    for file_system, settings in _SETTINGS.items():
        for name, value in settings.items():
            if config is not None:
                config.conf.setdefault(file_system, {}).setdefault(name, value)
            else:
                # As JSON, which fsspec converts.
                variable = f"FSSPEC_{file_system}_{name}".upper()
                os.environ.setdefault(variable, str(value).lower())


def file_system(path: epath.Path) -> Any | None:
    """fsspec's file system for a path; None if epath does not use fsspec for it."""
    from etils.epath import backend

    uses_fsspec = path._backend is backend.fsspec_backend
    return backend.fsspec_backend.fs(path) if uses_fsspec else None


def list_objects(directory: epath.Path) -> dict[str, Mapping[str, Any]] | None:
    """What fsspec says of all files below a directory, a thousand of them in a request.

    Returns:
      The descriptions by the files' paths relative to the directory; None if epath does not use
      fsspec for it.
    """
    if (objects := file_system(directory)) is None:
        return None
    root = f"{objects._strip_protocol(os.fspath(directory))}/"
    found = objects.find(os.fspath(directory), detail=True)
    # An object whose name ends with a slash stands for a directory.
    return {
        key.removeprefix(root): info
        for key, info in found.items()
        if key.startswith(root) and not key.endswith("/")
    }


def modification_time(info: Mapping[str, Any]) -> float:
    """When a file was last modified, in seconds since 1970; 0 if its file system does not say.

    Args:
      info: what fsspec says of the file.
    """
    for name in _TIMES:
        found = info.get(name)
        if isinstance(found, str):
            found = datetime.datetime.fromisoformat(found)
        if isinstance(found, datetime.datetime):
            return found.timestamp()
        if found is not None:
            return float(found)
    return 0.0

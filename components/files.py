"""Files and directories, local or remote: digests, locks, and bringing bytes to the disk."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator

from etils import epath

from components.errors import WorkError


def files_below(directory: epath.Path) -> list[epath.Path]:
    """Every file in a directory and the directories in it, in order."""
    return sorted(root / name for root, _, names in directory.walk() for name in names)


def sha256(path: epath.Path, *, sync: bool = False) -> str:
    """The digest of a file, and with `sync` the file brought to the disk."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sync and os.path.isfile(path):
            os.fsync(file.fileno())
    return digest


def write_durably(path: epath.Path, text: str) -> None:
    """Writes a text file and brings it to the disk."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        if os.path.isfile(path):
            os.fsync(file.fileno())


@contextlib.contextmanager
def locked(directory: epath.Path) -> Iterator[None]:
    """Makes a directory and, if it is local, holds it; the system lets go however we end.

    Raises:
      WorkError: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not os.path.isdir(directory):
        yield  # Object stores have no locks.
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Published and renamed between our opening and our lock, it is no draft any more.
            if not os.path.samestat(os.fstat(descriptor), os.stat(directory)):
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            raise WorkError(
                f"another process is writing {directory}; wait for it, or name another directory"
            ) from None
        yield
    finally:
        os.close(descriptor)


def is_empty(directory: epath.Path) -> bool:
    """Whether a path is a directory with nothing in it."""
    return directory.is_dir() and not any(directory.iterdir())


def relative(path: epath.Path, start: epath.Path) -> str:
    """`path` as seen from `start`; other schemes than the local one stay as they are."""
    if "://" in os.fspath(path) or "://" in os.fspath(start):
        return os.fspath(path)
    return os.path.relpath(path, start)

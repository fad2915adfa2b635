"""Files and directories, local or remote: digests, locks, and bringing bytes to the disk."""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from etils import epath

from components.base.errors import WorkError

_REQUESTS = 16  # to a remote file system, at a time
_READ_BYTES = 1 << 20


def files_below(directory: epath.Path) -> list[epath.Path]:
    """Every file in a directory and the directories in it, in order."""
    return sorted(root / name for root, _, names in directory.walk() for name in names)


def sha256(path: epath.Path, *, sync: bool = False) -> str:
    """The digest of a file, and with `sync` the file brought to the disk."""
    with path.open("rb") as file:
        if os.path.isfile(path):
            digest = hashlib.file_digest(file, "sha256")
            if sync:
                os.fsync(file.fileno())
        else:
            # TensorFlow's files are none that hashlib takes.
            digest = hashlib.sha256()
            while data := file.read(_READ_BYTES):
                digest.update(data)
    return digest.hexdigest()


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


def is_remote(path: epath.Path) -> bool:
    """Whether a path has another scheme than the local one."""
    return "://" in os.fspath(path)


def relative(path: epath.Path, start: epath.Path) -> str:
    """`path` as seen from `start`; other schemes than the local one stay as they are."""
    if is_remote(path) or is_remote(start):
        return os.fspath(path)
    return os.path.relpath(path, start)


class Status(NamedTuple):
    """A file's size in bytes, and when its content last changed, in seconds."""

    size: int
    modified: float


def status(path: epath.Path) -> Status:
    """Of a file. Raises what reading it does."""
    if os.path.exists(path):
        # epath asks for the owner's name too, which a container's user may not have.
        local = os.stat(path)
        return Status(local.st_size, local.st_mtime)
    remote = path.stat()
    return Status(remote.length, float(remote.mtime or 0))


@dataclasses.dataclass(frozen=True, slots=True)
class ListedFile:
    """A file below a directory.

    Attributes:
      name: its path relative to the directory, with slashes.
      size: in bytes.
      modified: when its content last changed, in seconds (nanoseconds kept where they are known).
      is_regular: no pipe, socket, device or broken link.
    """

    name: str
    size: int
    modified: float
    is_regular: bool


def listing(directory: epath.Path) -> list[ListedFile]:
    """Every file below a directory but hidden ones and what lies in hidden folders, by name.

    Links are followed, but not to a folder that they lie in. Bytes of a name that are no UTF-8 come
    as `os.fsdecode` gives them.

    Raises:
      WorkError: a folder cannot be listed; names it.
    """
    found = (_list_remote if is_remote(directory) else _list_local)(directory)
    return sorted(found, key=lambda file: file.name)


def _is_hidden(name: str) -> bool:
    # Two dots hide nothing by custom: it is a name that someone gave.
    return name.startswith(".") and not name.startswith("..")


def _list_local(directory: epath.Path) -> Iterator[ListedFile]:
    root = os.fspath(directory)
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ())]
    while waiting:
        folder, above = waiting.pop()
        path = os.path.join(root, folder)
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                continue
            with os.scandir(path) as entries:
                for entry in entries:
                    if _is_hidden(entry.name):
                        continue
                    name = folder + entry.name
                    found = _status(entry)
                    if found is not None and stat.S_ISREG(found.st_mode):
                        yield ListedFile(name, found.st_size, found.st_mtime, True)
                    elif found is not None and stat.S_ISDIR(found.st_mode):
                        waiting.append((f"{name}/", (*above, identity)))
                    else:
                        yield ListedFile(name, 0, 0.0, False)
        except OSError as error:
            raise _not_listed(path, error) from None


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What an entry is, links followed; None for a link that leads nowhere."""
    try:
        return entry.stat()
    except OSError:
        if entry.is_symlink():
            return None
        raise


def _list_remote(directory: epath.Path) -> Iterator[ListedFile]:
    # Level by level, since each answer is a request: epath's walk makes them one after the other.
    folders = [""]
    with concurrent.futures.ThreadPoolExecutor(_REQUESTS) as pool:
        try:
            while folders:
                children = pool.map(lambda folder: list((directory / folder).iterdir()), folders)
                names = [
                    os.path.join(folder, child.name)
                    for folder, inside in zip(folders, children, strict=True)
                    for child in inside
                    if not _is_hidden(child.name)
                ]
                folders = []
                found = pool.map(lambda name: (directory / name).stat(), names)
                for name, status in zip(names, found, strict=True):
                    if status.is_directory:
                        folders.append(name)
                    else:
                        yield ListedFile(name, status.length, float(status.mtime), True)
        except remote_errors() as error:
            raise _not_listed(os.fspath(directory), error) from None


def _not_listed(path: str, error: Exception) -> WorkError:
    return WorkError(f"cannot list {path!r}: {why(error)}; make it readable, or move it away")


def remote_errors() -> tuple[type[Exception], ...]:
    """What reading a remote file or folder raises; epath may go through TensorFlow, and does."""
    import tensorflow as tf

    return OSError, tf.errors.OpError


def why(error: Exception) -> str:
    """What the system says of an operation that failed, in one line."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())

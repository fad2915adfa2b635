"""Files and directories, local or remote: listings, digests, locks, durable writes."""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import fnmatch
import hashlib
import os
import re
from collections.abc import Iterator
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

from etils import epath

from components.base import file_errors
from components.base.errors import WorkError

_CONCURRENT_REQUESTS = 16  # to a remote file system
_READ_BYTES = 1 << 20


def walk_files(directory: epath.Path) -> list[epath.Path]:
    """Every file in a directory and its subdirectories, sorted by path."""
    return sorted(root / name for root, _, names in directory.walk() for name in names)


def contains(directory: epath.Path, path: epath.Path) -> bool:
    """Whether a path is a directory itself or is below it, after links are resolved."""
    if is_remote(directory) or is_remote(path):
        outer, inner = (os.fspath(each).rstrip("/") for each in (directory, path))
    else:
        outer, inner = (os.path.realpath(each) for each in (directory, path))
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def list_matching(directory: epath.Path, pattern: str) -> list[epath.Path]:
    """The entries of a directory whose names match a pattern, sorted by name.

    Unlike `glob`, it does not take characters in the path of the directory for wildcards.

    Args:
      directory: a directory; one that does not exist has no entries.
      pattern: a name with the wildcards * and ?; [ has no special meaning.
    """
    if not directory.is_dir():
        return []
    matches = re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match
    return sorted(path for path in directory.iterdir() if matches(path.name))


def expand_pattern(pattern: str) -> list[epath.Path]:
    """The files and directories that match a path with the wildcards * and ? in any part.

    A part is literal if something of exactly that name exists. Names that begin with a dot match
    only patterns that do.
    """
    paths = [epath.Path(epath.Path(pattern).anchor)]
    for part in epath.Path(pattern).parts[len(paths[0].parts) :]:
        if any(wildcard in part for wildcard in "*?"):
            paths = [
                path
                for parent in paths
                for path in ([parent / part] if (parent / part).exists() else [])
                or [
                    match
                    for match in list_matching(parent, part)
                    if not match.name.startswith(".") or part.startswith(".")
                ]
            ]
        else:
            paths = [parent / part for parent in paths]
    return [path for path in paths if path.exists()]


def sha256(path: epath.Path, *, sync: bool = False) -> str:
    """Computes the SHA-256 digest of a file, in hexadecimal.

    Args:
      path: the file.
      sync: also flush the file to disk, if it is local.
    """
    with path.open("rb") as file:
        if os.path.isfile(path):
            digest = hashlib.file_digest(file, "sha256")
            if sync:
                os.fsync(file.fileno())
        else:
            # `hashlib.file_digest` does not accept TensorFlow's file objects.
            digest = hashlib.sha256()
            while data := file.read(_READ_BYTES):
                digest.update(data)
    return digest.hexdigest()


def write_durably(path: epath.Path, text: str) -> None:
    """Writes a text file, and flushes it to disk if it is local."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        if os.path.isfile(path):
            os.fsync(file.fileno())


@contextlib.contextmanager
def directory_lock(directory: epath.Path) -> Iterator[None]:
    """Creates a directory and, if it is local, holds an exclusive lock on it.

    The operating system releases the lock even if this process is killed.

    Raises:
      WorkError: another process holds the lock.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not os.path.isdir(directory):
        yield  # Object stores have no locks.
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between `open` and `flock`, the holder may have renamed the directory to publish it.
            if not os.path.samestat(os.fstat(descriptor), os.stat(directory)):
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            raise WorkError(
                f"another process is writing {directory}; "
                "wait until it has finished, or choose another directory"
            ) from None
        yield
    finally:
        os.close(descriptor)


def is_empty(directory: epath.Path) -> bool:
    """Whether a path is a directory without entries."""
    return directory.is_dir() and not any(directory.iterdir())


def is_remote(path: epath.Path) -> bool:
    """Whether a path is on a remote file system, such as `gs://bucket/file`."""
    return "://" in os.fspath(path)


def relative_path(path: epath.Path, start: epath.Path) -> str:
    """`path` relative to the directory `start`; unchanged if one of them is remote."""
    if is_remote(path) or is_remote(start):
        return os.fspath(path)
    return os.path.relpath(path, start)


class FileStat(NamedTuple):
    """Properties of a file.

    Attributes:
      size: in bytes.
      modified: modification time, in seconds since 1970.
    """

    size: int
    modified: float


def stat(path: epath.Path) -> FileStat:
    """The size and modification time of a file. Raises the errors that reading it would raise."""
    if os.path.exists(path):
        # Not `epath.Path.stat`: it looks up the owner's name, which a container may not have.
        local = os.stat(path)
        return FileStat(local.st_size, local.st_mtime)
    remote = path.stat()
    return FileStat(remote.length, float(remote.mtime or 0))


@dataclasses.dataclass(frozen=True, slots=True)
class ListedFile:
    """A file below a directory.

    Attributes:
      name: path relative to the directory, with slashes.
      size: in bytes.
      modified: modification time, in seconds since 1970, with a fraction
        where the file system records one.
      is_regular: False for a pipe, a socket, a device and a broken link.
    """

    name: str
    size: int
    modified: float
    is_regular: bool


def list_files(directory: epath.Path, *, hidden: list[str] | None = None) -> list[ListedFile]:
    """Lists every file below a directory, sorted by name, except hidden files and directories.

    Follows symbolic links, except those to a directory that contains them. Decodes names that are
    not valid UTF-8 like `os.fsdecode`.

    Args:
      directory: the directory.
      hidden: a list to append the names of the hidden files and directories to.

    Raises:
      WorkError: a directory cannot be listed; the message names it.
    """
    hidden = [] if hidden is None else hidden
    entries = (_list_remote if is_remote(directory) else _list_local)(directory, hidden)
    return sorted(entries, key=lambda file: file.name)


def _is_hidden(name: str) -> bool:
    # By convention one leading dot hides a file; a name with two was chosen by a person.
    return name.startswith(".") and not name.startswith("..")


def _list_local(directory: epath.Path, hidden: list[str]) -> Iterator[ListedFile]:
    root = os.fspath(directory)
    # Directories to list: path relative to the root, and the (device, inode) of all its ancestors.
    pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ())]
    while pending:
        folder, ancestors = pending.pop()
        path = os.path.join(root, folder)
        try:
            folder_stat = os.stat(path)
            identity = (folder_stat.st_dev, folder_stat.st_ino)
            if identity in ancestors:
                continue
            with os.scandir(path) as entries:
                for entry in entries:
                    if _is_hidden(entry.name):
                        hidden.append(entry.name)
                        continue
                    name = folder + entry.name
                    target = _stat_target(entry)
                    if target is not None and S_ISREG(target.st_mode):
                        yield ListedFile(name, target.st_size, target.st_mtime, True)
                    elif target is not None and S_ISDIR(target.st_mode):
                        pending.append((f"{name}/", (*ancestors, identity)))
                    else:
                        yield ListedFile(name, 0, 0.0, False)
        except OSError as error:
            raise _listing_error(path, error) from None


def _stat_target(entry: os.DirEntry[str]) -> os.stat_result | None:
    """The status of an entry, or of the target of a link; None for a broken link."""
    try:
        return entry.stat()
    except OSError:
        if entry.is_symlink():
            return None
        raise


def _list_remote(directory: epath.Path, hidden: list[str]) -> Iterator[ListedFile]:
    # Each call is a request that takes many milliseconds: `epath.Path.walk` sends them one by one,
    # whereas all the requests of one level of the tree can be sent concurrently.
    folders = [""]
    with concurrent.futures.ThreadPoolExecutor(_CONCURRENT_REQUESTS) as pool:
        try:
            while folders:
                listings = pool.map(lambda folder: list((directory / folder).iterdir()), folders)
                children = [
                    (folder, child.name)
                    for folder, listing in zip(folders, listings, strict=True)
                    for child in listing
                ]
                hidden += [name for _, name in children if _is_hidden(name)]
                names = [
                    os.path.join(folder, name) for folder, name in children if not _is_hidden(name)
                ]
                folders = []
                stats = pool.map(lambda name: (directory / name).stat(), names)
                for name, child_stat in zip(names, stats, strict=True):
                    if child_stat.is_directory:
                        folders.append(name)
                    else:
                        yield ListedFile(name, child_stat.length, float(child_stat.mtime), True)
        except file_errors.error_types() as error:
            raise _listing_error(os.fspath(directory), error) from None


def _listing_error(path: str, error: Exception) -> WorkError:
    reason = file_errors.error_reason(error)
    return WorkError(f"cannot list {path!r}: {reason}; make it readable, or move it away")

"""Files and directories, local or remote: listings, digests, locks, durable writes."""

import concurrent.futures
import contextlib
import fcntl
import fnmatch
import functools
import hashlib
import os
import re
import stat as modes
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from etils import epath

from components.base import fsspec_setup, remote_file
from components.base.errors import WorkError

# Before anything opens a remote file.
fsspec_setup.configure()

CONCURRENT_REQUESTS = 16  # to a remote file system
_READ_BYTES = 1 << 20
# File systems whose files have no content on a disk: the kernel answers each read, which may wait
# forever (/proc/kmsg), and the file may never end.
_KERNEL_FILE_SYSTEMS = {"proc", "sysfs", "debugfs", "tracefs", "securityfs", "configfs", "cgroup"}
_MOUNTS = "/proc/self/mountinfo"
_KINDS = (
    (modes.S_ISDIR, "a directory"),
    (modes.S_ISFIFO, "a pipe"),
    (modes.S_ISSOCK, "a socket"),
    (modes.S_ISCHR, "a device"),
    (modes.S_ISBLK, "a device"),
)


def walk(directory: epath.Path) -> Iterator[tuple[epath.Path, list[str], list[str]]]:
    """Yields each directory below one and itself, with the names of its directories and files."""
    return _walk_remote(directory) if is_remote(directory) else directory.walk()


def _walk_remote(directory: epath.Path) -> Iterator[tuple[epath.Path, list[str], list[str]]]:
    # Not epath's `walk`, which fsspec does not support. And each request takes many milliseconds,
    # so those of one level of the tree are sent at the same time.
    with concurrent.futures.ThreadPoolExecutor(CONCURRENT_REQUESTS) as pool:
        folders = [directory]
        while folders:
            listings = list(pool.map(entries, folders))
            children = [child for listing in listings for child in listing]
            kinds = pool.map(lambda child: child.stat().is_directory, children)
            inner = {child for child, is_folder in zip(children, kinds, strict=True) if is_folder}
            for folder, listing in zip(folders, listings, strict=True):
                yield (
                    folder,
                    [child.name for child in listing if child in inner],
                    [child.name for child in listing if child not in inner],
                )
            folders = sorted(inner)


def walk_files(directory: epath.Path) -> list[epath.Path]:
    """Every file in a directory and its subdirectories, sorted by path."""
    if is_remote(directory) and (found := fsspec_setup.list_objects(directory)) is not None:
        return sorted(directory / name for name in found)
    return sorted(root / name for root, _, names in walk(directory) for name in names)


def entries(directory: epath.Path) -> list[epath.Path]:
    """The entries of a directory, sorted; none if there is no such directory.

    An object store has no directory before there is a file in it.
    """
    return sorted(directory.iterdir()) if directory.is_dir() else []


def leaves(directory: epath.Path) -> set[epath.Path]:
    """Everything below a directory except directories that hold something; links are not followed.

    These are the files, the links, whatever they lead to, and the empty directories; the files
    alone of a remote directory, where TensorFlow leaves marks of directories that were created.
    """
    if is_remote(directory):
        return set(walk_files(directory))
    found: set[epath.Path] = set()
    for root, folders, names in walk(directory):
        links = {name for name in folders if os.path.islink(root / name)}
        found |= {root / name for name in (*names, *links)}
        if not folders and not names and root != directory:
            found.add(root)
    return found


def remove_empty_directories(directory: epath.Path) -> None:
    """Removes the directories below a local one that hold no file; a remote one has none."""
    if not is_remote(directory):
        for root, _, _ in os.walk(directory, topdown=False):
            if os.fspath(directory) != root and not os.listdir(root):
                os.rmdir(root)


def remove_all(paths: Iterable[epath.Path]) -> None:
    """Removes files, of an object store many at a time. One that is not there is not an error."""
    with concurrent.futures.ThreadPoolExecutor(CONCURRENT_REQUESTS) as pool:
        for _ in pool.map(lambda path: path.unlink(missing_ok=True), paths):
            pass


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
    return [directory / name for name in names_matching(directory, pattern)]


def names_matching(directory: epath.Path, pattern: str) -> list[str]:
    """The names of `list_matching`, in a tenth of its time if there are very many."""
    matches = re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match
    if is_remote(directory):
        names = [path.name for path in entries(directory)]
    else:
        names = os.listdir(directory) if directory.is_dir() else []
    return sorted(filter(matches, names))


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


def is_regular(status: os.stat_result) -> bool:
    """Whether a local file is one with content of its own, which can be read to an end.

    Pipes, sockets and devices are not, nor are the files that the kernel generates, such as
    /proc/kmsg, although they have the type of a regular file.

    Args:
      status: the status of the file, or of the target of a link.
    """
    return modes.S_ISREG(status.st_mode) and status.st_dev not in _kernel_devices()


@functools.cache
def _kernel_devices() -> frozenset[int]:
    """The device numbers of the mounted file systems of the kernel."""
    devices = set()
    with contextlib.suppress(OSError), open(_MOUNTS) as mounts:
        # 22 26 0:21 / /proc rw,nosuid shared:12 - proc proc rw
        for line in mounts:
            mount, _, file_system = line.partition(" - ")
            if file_system.partition(" ")[0].rstrip("2") in _KERNEL_FILE_SYSTEMS:
                major, _, minor = mount.split()[2].partition(":")
                devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)


def check_regular(path: epath.Path) -> None:
    """Checks, without opening it, that a file can be read to an end; a remote one always can.

    Raises:
      WorkError: it is a directory, pipe, socket, device or file of the kernel, or a link to one.
      OSError: there is no such file.
    """
    if is_remote(path):
        return
    status = os.stat(path)
    if not is_regular(status):
        found = (kind for is_kind, kind in _KINDS if is_kind(status.st_mode))
        raise WorkError(
            f"{path} is {next(found, 'a file of the kernel')}, not a regular file, and is not "
            "opened; put a regular file in its place"
        )


def open_regular(path: epath.Path, *, buffering: int = -1) -> IO[bytes]:
    """Opens a file for reading; a pipe or a device, on which reading may never end, is not opened.

    Args:
      path: the file.
      buffering: size of the buffer in bytes; -1 for the default, 0 for none if the file is local.

    Raises:
      WorkError: see `check_regular`.
      OSError: the file cannot be opened.
    """
    check_regular(path)
    if is_remote(path):
        return remote_file.open_for_reading(path, buffering=buffering)
    return open(path, "rb", buffering)


def sha256(path: epath.Path, *, sync: bool = False) -> str:
    """Computes the SHA-256 digest of a file, in hexadecimal.

    Args:
      path: the file.
      sync: also flush the file to disk, if it is local.

    Raises:
      WorkError: it is not a regular file.
    """
    with open_regular(path, buffering=0) as file:
        value = digest(file)
        if sync and not is_remote(path):
            os.fsync(file.fileno())
    return value


def digest(file: IO[bytes]) -> str:
    """The SHA-256 digest of the rest of an open file, in hexadecimal."""
    value = hashlib.sha256()
    # Not `hashlib.file_digest`, which does not accept TensorFlow's file objects.
    while data := file.read(_READ_BYTES):
        value.update(data)
    return value.hexdigest()


class BackgroundDigest(contextlib.AbstractContextManager["BackgroundDigest"]):
    """A SHA-256 digest that a thread computes while the caller works on the same data."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="digest")
        self._update: concurrent.futures.Future[None] | None = None

    def update(self, data: bytes | memoryview) -> None:
        """Adds bytes; waits for those of the last call, so that few are in memory."""
        self._wait()
        self._update = self._pool.submit(self._digest.update, data)

    def hexdigest(self) -> str:
        """The digest of all bytes, in hexadecimal."""
        self._wait()
        return self._digest.hexdigest()

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(wait=False)

    def _wait(self) -> None:
        if self._update is not None:
            self._update.result()


def content_error(path: epath.Path) -> WorkError:
    """The error for a file of an artifact whose digest is not the one in the manifest."""
    return WorkError(
        f"{path} is damaged or belongs to another run: its content does not match its manifest; "
        "restore it, or recreate it with --overwrite"
    )


def write_durably(path: epath.Path, text: str) -> None:
    """Writes a text file, and flushes it to disk if it is local."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        if os.path.isfile(path):
            os.fsync(file.fileno())


def flush(path: epath.Path, file: IO[bytes]) -> None:
    """Flushes an open file to disk, if its path is local."""
    if not is_remote(path):
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def directory_lock(directory: epath.Path) -> Iterator[None]:
    """Creates a directory and, if it is local, holds an exclusive lock on it.

    The operating system releases the lock even if this process is killed.

    Raises:
      WorkError: another process holds the lock.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if is_remote(directory):
        yield
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
    return directory.is_dir() and not entries(directory)


def is_remote(path: epath.Path) -> bool:
    """Whether a path is on an object store, such as `gs://bucket/file`.

    All remote file systems of epath are object stores: files are there as soon as they are whole,
    directories exist by their files alone, nothing can be renamed or locked, and a file is written
    from its beginning to its end.
    """
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
    if is_remote(path) and (file_system := fsspec_setup.file_system(path)) is not None:
        info = file_system.info(os.fspath(path))
        return FileStat(info["size"], fsspec_setup.modification_time(info))
    remote = path.stat()
    return FileStat(remote.length, float(remote.mtime or 0))


# What changes when another file takes the place of a file, or when it is written to.
FileIdentity = tuple[float, ...]


def identity(path: epath.Path, file: IO[bytes]) -> FileIdentity:
    """The identity of an open file.

    Args:
      path: its path.
      file: the file.
    """
    if is_remote(path):
        return stat(path)
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

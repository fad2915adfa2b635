"""Files and directories, local or remote: listings, digests, locks, durable writes."""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import fnmatch
import functools
import hashlib
import os
import re
import stat as modes
from collections.abc import Iterator
from typing import IO, NamedTuple

from etils import epath

from components.base import file_errors
from components.base.errors import WorkError

_CONCURRENT_REQUESTS = 16  # to a remote file system
_READ_BYTES = 1 << 20
# File systems whose files have no content on a disk: reading one asks the kernel, and may wait for
# ever (/proc/kmsg) or never end.
_KERNEL_FILE_SYSTEMS = {"proc", "sysfs", "debugfs", "tracefs", "securityfs", "configfs", "cgroup"}
_MOUNTS = "/proc/self/mountinfo"
_KINDS = (
    (modes.S_ISDIR, "a directory"),
    (modes.S_ISFIFO, "a pipe"),
    (modes.S_ISSOCK, "a socket"),
    (modes.S_ISCHR, "a device"),
    (modes.S_ISBLK, "a device"),
)


def walk_files(directory: epath.Path) -> list[epath.Path]:
    """Every file in a directory and its subdirectories, sorted by path."""
    return sorted(root / name for root, _, names in directory.walk() for name in names)


def leaves(directory: epath.Path) -> set[epath.Path]:
    """Everything below a directory except directories that hold something; links are not followed.

    These are the files, the links, whatever they lead to, and the empty directories.
    """
    found: set[epath.Path] = set()
    for root, folders, names in directory.walk():
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
    """The names of `list_matching`, which very many entries have in a tenth of the time."""
    if not directory.is_dir():
        return []
    matches = re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match
    if is_remote(directory):
        names = [path.name for path in directory.iterdir()]
    else:
        names = os.listdir(directory)
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

    Pipes, sockets and devices are not, nor are the files through which the kernel speaks, such as
    /proc/kmsg, although their type says so.

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
      buffering: size of the buffer in bytes, if the file is local; 0 for none, -1 for the default.

    Raises:
      WorkError: see `check_regular`.
      OSError: the file cannot be opened.
    """
    check_regular(path)
    return path.open("rb") if is_remote(path) else open(path, "rb", buffering)


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


@dataclasses.dataclass(frozen=True, slots=True)
class ListedFile:
    """A file below a directory.

    Attributes:
      name: path relative to the directory, with slashes.
      size: in bytes.
      modified: modification time, in seconds since 1970, with a fraction
        where the file system records one.
      is_regular: False for a broken link and for what `is_regular` excludes, such as pipes.
    """

    name: str
    size: int
    modified: float
    is_regular: bool


@dataclasses.dataclass
class Listing:
    """The files below a directory.

    Attributes:
      files: all files except hidden ones and those in hidden directories, sorted by name.
      hidden: names of the hidden files and directories.
      repeated: relative paths that lead to a directory which is listed under another path, sorted.
    """

    files: list[ListedFile] = dataclasses.field(default_factory=list)
    hidden: list[str] = dataclasses.field(default_factory=list)
    repeated: list[str] = dataclasses.field(default_factory=list)


def list_files(directory: epath.Path) -> Listing:
    """Lists every file below a directory, except hidden files and directories.

    Follows symbolic links. A directory that links lead to is listed once: under its own path if it
    has one below the directory, otherwise under the first link by name. Decodes names that are not
    valid UTF-8 like `os.fsdecode`.

    Raises:
      WorkError: a directory cannot be listed; the message names it.
    """
    listing = (_list_remote if is_remote(directory) else _list_local)(directory)
    listing.files.sort(key=lambda file: file.name)
    listing.repeated.sort()
    return listing


def _is_hidden(name: str) -> bool:
    # By convention one leading dot hides a file; a name with two was chosen by a person.
    return name.startswith(".") and not name.startswith("..")


def _list_local(directory: epath.Path) -> Listing:
    root = os.fspath(directory)
    listing = Listing()
    seen: set[tuple[int, int]] = set()  # (device, inode) of each directory
    # Links are followed after all that is below a directory without them, so that a directory
    # keeps its own path. Without links, no directory is met twice: `seen` need not be asked, and a
    # file system that gives many directories one inode loses none.
    links = _list_below(root, "", listing, seen, is_linked=False)
    while links:
        found: list[str] = []
        for link in sorted(links):
            found += _list_below(root, link, listing, seen, is_linked=True)
        links = found
    return listing


def _list_below(
    root: str,
    folder: str,
    listing: Listing,
    seen: set[tuple[int, int]],
    *,
    is_linked: bool,
) -> list[str]:
    """Lists a directory and those below it, without following links to others.

    Args:
      root: the directory that the listing is relative to.
      folder: path of the directory to list, "" or with a slash at the end.
      listing: the listing to extend.
      seen: (device, inode) of the directories that are listed, to be extended.
      is_linked: whether links lead to the directory.

    Returns:
      The links to directories, in the form of `folder`.
    """
    links: list[str] = []
    pending = [folder]
    while pending:
        folder = pending.pop()
        path = os.path.join(root, folder)
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if is_linked and identity in seen:
                listing.repeated.append(folder.rstrip("/"))
                continue
            seen.add(identity)
            with os.scandir(path) as entries:
                for entry in entries:
                    if _is_hidden(entry.name):
                        listing.hidden.append(entry.name)
                        continue
                    name = folder + entry.name
                    target = _stat_target(entry)
                    if target is not None and is_regular(target):
                        listing.files.append(
                            ListedFile(name, target.st_size, target.st_mtime, True)
                        )
                    elif target is not None and modes.S_ISDIR(target.st_mode):
                        (links if entry.is_symlink() else pending).append(f"{name}/")
                    else:
                        listing.files.append(ListedFile(name, 0, 0.0, False))
        except OSError as error:
            raise _listing_error(path, error) from None
    return links


def _stat_target(entry: os.DirEntry[str]) -> os.stat_result | None:
    """The status of an entry, or of the target of a link; None for a broken link."""
    try:
        return entry.stat()
    except OSError:
        if entry.is_symlink():
            return None
        raise


def _list_remote(directory: epath.Path) -> Listing:
    # Each call is a request that takes many milliseconds: `epath.Path.walk` sends them one by one,
    # whereas all the requests of one level of the tree can be sent concurrently.
    listing = Listing()
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
                listing.hidden += [name for _, name in children if _is_hidden(name)]
                names = [
                    os.path.join(folder, name) for folder, name in children if not _is_hidden(name)
                ]
                folders = []
                stats = pool.map(lambda name: (directory / name).stat(), names)
                for name, child_stat in zip(names, stats, strict=True):
                    if child_stat.is_directory:
                        folders.append(name)
                    else:
                        listing.files.append(
                            ListedFile(name, child_stat.length, float(child_stat.mtime), True)
                        )
        except file_errors.error_types() as error:
            raise _listing_error(os.fspath(directory), error) from None
    return listing


def _listing_error(path: str, error: Exception) -> WorkError:
    reason = file_errors.error_reason(error)
    return WorkError(f"cannot list {path!r}: {reason}; make it readable, or move it away")

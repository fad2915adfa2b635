"""Reads the files of a folder of images, local or remote.

Only regular files that are not empty are opened. Reading a pipe or a device may never end, and
neither may reading a file of the system without a size, such as /proc/kmsg.
"""

import collections
import concurrent.futures
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from etils import epath

from components.base import file_errors, file_listing, files
from components.ingest.decode import MAX_ENCODED_BYTES, START_BYTES, is_image
from components.ingest.rejection import Reason, UnusableError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_READERS = 16  # concurrent requests to a remote file system

Item = TypeVar("Item")
Result = TypeVar("Result")


def has_image(root: str, members: Sequence[file_listing.ListedFile], *, is_remote: bool) -> bool:
    """Whether at least one of some files is an image, by its first bytes.

    Args:
      root: path of the folder that the names of the files are relative to.
      members: the files.
      is_remote: whether the folder is on a remote file system.
    """
    read_start = _read_start_remote if is_remote else _read_start_local
    # Files with the name of an image first: in a folder of images, one file is enough.
    ordered = sorted(members, key=lambda file: not file.name.lower().endswith(IMAGE_SUFFIXES))
    return any(
        file.is_regular and file.size and is_image(read_start(f"{root}/{file.name}"))
        for file in ordered
    )


def _read_start_local(path: str) -> bytes:
    """The first bytes of a local file; none if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return os.read(descriptor, START_BYTES)
        finally:
            os.close(descriptor)
    except OSError:
        return b""


def _read_start_remote(path: str) -> bytes:
    """The first bytes of a remote file; none if it cannot be read."""
    try:
        with epath.Path(path).open("rb") as file:
            return bytes(file.read(START_BYTES))
    except file_errors.error_types():
        return b""


def load_local(path: str) -> bytes:
    """Reads a local file. Raises UnusableError if it cannot be read or is too large."""
    try:
        # Before opening: opening a pipe blocks until someone writes to it.
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular()
        _check_size(status.st_size)
        if not status.st_size:
            return b""
        # For small files, os.open takes half the time of the built-in open.
        descriptor = os.open(path, os.O_RDONLY)
        try:
            # One call may return fewer bytes than it is asked for.
            return b"".join(iter(lambda: os.read(descriptor, status.st_size + 1), b""))
        finally:
            os.close(descriptor)
    except OSError as error:
        if os.path.lexists(path) and not os.path.exists(path):
            raise _not_regular() from None  # A broken link.
        raise UnusableError(Reason.UNREADABLE, file_errors.error_reason(error)) from None


def _not_regular() -> UnusableError:
    return UnusableError(Reason.WRONG_TYPE, "not a regular file")


def load_remote(path: str) -> bytes:
    """Reads a remote file. Raises UnusableError if it cannot be read or is too large."""
    try:
        _check_size(files.stat(epath.Path(path)).size)
        return epath.Path(path).read_bytes()
    except file_errors.error_types() as error:
        raise UnusableError(Reason.UNREADABLE, file_errors.error_reason(error)) from None


def _check_size(size: int) -> None:
    if size > MAX_ENCODED_BYTES:
        raise UnusableError(Reason.TOO_LARGE, f"{size} bytes; the limit is {MAX_ENCODED_BYTES}")


def read_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Like `map`, but runs up to 16 calls ahead in threads, to hide the latency of remote files."""
    remaining = iter(items)
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        started = collections.deque(
            pool.submit(function, item) for item in itertools.islice(remaining, _READERS)
        )
        while started:
            result = started.popleft().result()
            started.extend(pool.submit(function, item) for item in itertools.islice(remaining, 1))
            yield result

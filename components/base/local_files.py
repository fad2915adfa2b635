"""Local files in place of remote ones: how files get to and from a bucket.

For code that knows only local paths, and for files that must appear whole or not at all: if a file
is written to an object store directly and its writer fails, the part that was written stays there.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator

from etils import epath

from components.base import files

_COPIED_BYTES = 1 << 20


@contextlib.contextmanager
def written_locally(path: epath.PathLike) -> Iterator[epath.Path]:
    """Yields a local path to write a file at: the path itself if it is local.

    Otherwise a temporary file of the same name is copied to the path if the body succeeds. If the
    body fails, what is at the path stays as it is. A copy that fails halfway may leave a part of a
    file that is larger than one request, so such a file is trusted only if its digest is right.
    """
    path = epath.Path(path)
    if not files.is_remote(path):
        yield path
        return
    with _named_like(path) as local:
        yield local
        copy(local, path)


@contextlib.contextmanager
def directory_written_locally(directory: epath.Path) -> Iterator[epath.Path]:
    """Yields a local directory to write files in: the directory itself if it is local.

    Otherwise the files are copied to the directory if the body succeeds.
    """
    if not files.is_remote(directory):
        yield directory
        return
    with tempfile.TemporaryDirectory() as name:
        local = epath.Path(name)
        yield local
        for path in files.walk_files(local):
            copy(path, directory / path.relative_to(local).as_posix())


@contextlib.contextmanager
def local_copy(path: epath.PathLike) -> Iterator[epath.Path]:
    """Yields a local path to read a file at: the path itself if it is local."""
    path = epath.Path(path)
    if not files.is_remote(path):
        yield path
        return
    with _named_like(path) as local:
        copy(path, local)
        yield local


@contextlib.contextmanager
def _named_like(path: epath.Path) -> Iterator[epath.Path]:
    """Yields the path of a temporary local file with the name of another file."""
    with tempfile.TemporaryDirectory() as directory:
        yield epath.Path(directory) / path.name


def copy(source: epath.Path, target: epath.Path) -> None:
    """Copies a file, from or to any file system, in place of what is at the target."""
    with source.open("rb") as read, target.open("wb") as written:
        # TensorFlow creates a remote file only when something is written to it.
        written.write(b"")
        shutil.copyfileobj(read, written, _COPIED_BYTES)

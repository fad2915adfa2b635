"""Listings of all files below a directory, local or remote, with their sizes."""

import concurrent.futures
import dataclasses
import os
import stat as modes

from etils import epath

from components.base import file_errors, fsspec_setup
from components.base.errors import WorkError
from components.base.files import CONCURRENT_REQUESTS, is_regular, is_remote


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
    if not is_remote(directory):
        listing = _list_local(directory)
    elif (objects := _list_objects(directory)) is not None:
        listing = objects
    else:
        listing = _list_remote(directory)
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
    # keeps its own path. Without links, no directory is met twice: `seen` is not consulted, and no
    # directory is lost on a file system that gives many directories the same inode.
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


def _list_objects(directory: epath.Path) -> Listing | None:
    """The listing of a directory that epath reads through fsspec; None for any other."""
    try:
        found = fsspec_setup.list_objects(directory)
    except file_errors.error_types() as error:
        raise _listing_error(os.fspath(directory), error) from None
    if found is None:
        return None
    listing = Listing()
    hidden = set()
    for name, info in found.items():
        parts = name.split("/")
        first_hidden = next((part for part in parts if _is_hidden(part)), None)
        if first_hidden is not None:
            hidden.add("/".join(parts[: parts.index(first_hidden) + 1]))
        else:
            modified = fsspec_setup.modification_time(info)
            listing.files.append(ListedFile(name, info["size"], modified, True))
    listing.hidden += sorted(path.rpartition("/")[2] for path in hidden)
    return listing


def _list_remote(directory: epath.Path) -> Listing:
    # Each call is a request that takes many milliseconds: `epath.Path.walk` sends them one by one,
    # whereas all the requests of one level of the tree can be sent concurrently.
    listing = Listing()
    folders = [""]
    with concurrent.futures.ThreadPoolExecutor(CONCURRENT_REQUESTS) as pool:
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

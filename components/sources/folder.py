"""A folder of image files as a source, with a folder per class: `train/cat/1.png`, `cat/1.png`."""

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from etils import epath

from components.base import file_errors, files
from components.base.errors import ConfigError
from components.base.manifest import Input, fingerprint
from components.data.examples import SPLITS, ExampleBatch
from components.ingest.conversion import AS_IS, Conversion
from components.ingest.decode import MAX_ENCODED_BYTES
from components.ingest.rejection import Reason, Rejected, UnusableError
from components.sources import source
from components.sources.escaping import escape, to_dataset_name
from components.sources.source import UNLABELLED, EncodedExample, Slice, folder_name

FILES_PER_SLICE = 2048
# Slices of large files are limited by their bytes, so that there are enough slices for all cores.
SLICE_BYTES = 64 << 20
_READERS = 16  # concurrent requests to a remote file system

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """All files below a folder except hidden ones; their contents determine which are images.

    A folder at the top level that is named after a split (`train`, `val`, ...) holds that split.
    All other files belong to `train`. The class of an image is the name of the innermost folder
    that contains it, below the folder of the split. Images that are in no such folder are
    `unlabelled`, which is the last class.

    Attributes:
      path: the folder, local or remote.
      conversion: size and channels to convert the images to.

    Raises:
      ConfigError: the path is not a folder, or the folder holds no files.
      WorkError: a folder below it cannot be listed.
    """

    path: epath.Path
    conversion: Conversion = AS_IS

    def __post_init__(self) -> None:
        if not self.path.is_dir() or not self._listing:
            raise ConfigError(
                f"{self.path} is not a folder with files in it; pass a folder that holds images"
            )

    def __getstate__(self) -> dict[str, Any]:
        # The listing may be long, and a worker needs only the names of the classes in it.
        return {name: getattr(self, name) for name in ("path", "conversion", "class_names")}

    @functools.cached_property
    def _listing(self) -> list[files.ListedFile]:
        return files.list_files(self.path)

    @functools.cached_property
    def _splits(self) -> dict[str, list[files.ListedFile]]:
        """The files of each split that has any, sorted by name."""
        splits: dict[str, list[files.ListedFile]] = {split: [] for split in SPLITS}
        for file in self._listing:
            splits[_split_and_class(file.name)[0]].append(file)
        return {split: members for split, members in splits.items() if members}

    @property
    def name(self) -> str:
        return to_dataset_name(folder_name(self.path))

    @property
    def input(self) -> Input:
        return Input(self.path, self.fingerprint_without(()))

    def fingerprint_without(self, ids: Collection[str]) -> str:
        # Reading all files would take as long as preparing them. The modification time is included
        # because a file may change without changing its size.
        return fingerprint(
            [
                (file.name, file.size, file.modified)
                for file in self._listing
                if not ids or escape(file.name) not in ids
            ]
        )

    @property
    def settings(self) -> dict[str, Any]:
        return self.conversion.as_json()

    @functools.cached_property
    def class_names(self) -> list[str]:
        names = {_split_and_class(file.name)[1] for file in self._listing}
        return sorted(names, key=lambda name: (name == UNLABELLED, name))

    @property
    def num_examples(self) -> Mapping[str, int]:
        return {split: len(members) for split, members in self._splits.items()}

    def slices(self) -> list[Slice]:
        slices = []
        for split, members in self._splits.items():
            first = 0
            for names in _group_for_slices(members):
                slices.append(Slice(split, escape(names[0]), first, len(names), names))
                first += len(names)
        return slices

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        root = os.fspath(self.path)
        is_remote = files.is_remote(self.path)
        load = load_remote if is_remote else load_local
        labels = {name: label for label, name in enumerate(self.class_names)}

        def read_one(name: str) -> EncodedExample | Rejected:
            label = labels[_split_and_class(name)[1]]
            try:
                return EncodedExample(escape(name), label, load(f"{root}/{name}"))
            except UnusableError as error:
                return Rejected(escape(name), part.split, label, error.reason, str(error))

        inputs = read_ahead(read_one, part.files) if is_remote else map(read_one, part.files)
        return source.decode_batches(part.split, inputs, self.conversion)


def _group_for_slices(members: Iterable[files.ListedFile]) -> Iterator[tuple[str, ...]]:
    """Yields the names of the files of each slice."""
    names: list[str] = []
    size = 0
    for file in members:
        if names and (len(names) == FILES_PER_SLICE or size + file.size > SLICE_BYTES):
            yield tuple(names)
            names, size = [], 0
        names.append(file.name)
        size += file.size
    if names:
        yield tuple(names)


def _split_and_class(name: str) -> tuple[str, str]:
    """The names of the split and the class that follow from a file's relative path."""
    folders = name.split("/")[:-1]
    split = source.split_from_name(folders[0]) if folders else None
    classes = folders[1:] if split else folders
    return split or "train", escape(classes[-1]) if classes else UNLABELLED


def load_local(path: str) -> bytes:
    """Reads a local file. Raises UnusableError if it cannot be read or is too large."""
    # Checked before opening, because opening a pipe blocks until someone writes to it.
    if not os.path.isfile(path) and os.path.lexists(path):
        raise UnusableError(Reason.WRONG_TYPE, "not a regular file")
    try:
        # For small files, os.open takes half the time of the built-in open.
        descriptor = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            _check_size(size)
            # One call may return fewer bytes than it is asked for.
            return b"".join(iter(lambda: os.read(descriptor, size + 1), b""))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnusableError(Reason.UNREADABLE, file_errors.error_reason(error)) from None


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

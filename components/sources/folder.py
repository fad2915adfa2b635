"""A folder of image files, one class to a folder: `train/cat/1.png`, or without the splits."""

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from etils import epath

from components.base import files
from components.base.artifacts import Input, fingerprint
from components.base.errors import ConfigError
from components.data.examples import SPLITS, ExampleBatch
from components.ingest import images
from components.ingest.conversion import Conversion
from components.ingest.ledger import Reason, Rejected, UnusableError
from components.sources import source
from components.sources.escaping import dataset_name, printable
from components.sources.source import UNLABELLED, Encoded, Slice

FILES_PER_SLICE = 2048
# Of large files fewer, so that all cores have some of them.
SLICE_BYTES = 64 << 20
_READERS = 16

T = TypeVar("T")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """Every file below a folder but the hidden ones; their contents say which are images.

    A folder at the top that is named after a split (`train`, `val`, ...) holds that split; all that
    lies elsewhere is `train`. An image's class is the folder that it lies in, if that is below the
    split's; the others are `unlabelled`, the last class.

    Attributes:
      path: the folder, local or remote.
      conversion: what the images are turned into.

    Raises:
      ConfigError: it is no folder, or has no files.
      WorkError: a folder in it cannot be listed.
    """

    path: epath.Path
    conversion: Conversion = dataclasses.field(default_factory=Conversion)

    def __post_init__(self) -> None:
        if not self.path.is_dir() or not self._listing:
            raise ConfigError(
                f"{self.path} is no folder with files in it; name one that holds images"
            )

    def __getstate__(self) -> dict[str, Any]:
        # Workers need no listing, which may be long, but for the names of the classes in it.
        return {name: getattr(self, name) for name in ("path", "conversion", "class_names")}

    @functools.cached_property
    def _listing(self) -> list[files.ListedFile]:
        return files.listing(self.path)

    @functools.cached_property
    def _splits(self) -> dict[str, list[files.ListedFile]]:
        """Each split's files, in order."""
        splits: dict[str, list[files.ListedFile]] = {split: [] for split in SPLITS}
        for file in self._listing:
            splits[_place(file.name)[0]].append(file)
        return {split: members for split, members in splits.items() if members}

    @property
    def name(self) -> str:
        return dataset_name(os.path.basename(os.path.abspath(self.path)))

    @property
    def input(self) -> Input:
        # Reading every file would take as long as the work itself. The time is told as well, so
        # that a changed file of the same size does not pass for the one that was read.
        return Input(self.path, self.fingerprint_without(()))

    def fingerprint_without(self, ids: Collection[str]) -> str:
        """A digest of all inputs but some."""
        return fingerprint(
            [
                (file.name, file.size, file.modified)
                for file in self._listing
                if not ids or printable(file.name) not in ids
            ]
        )

    @property
    def settings(self) -> dict[str, Any]:
        return self.conversion.as_json()

    @functools.cached_property
    def class_names(self) -> list[str]:
        names = {_place(file.name)[1] for file in self._listing}
        return sorted(names, key=lambda name: (name == UNLABELLED, name))

    @property
    def num_examples(self) -> Mapping[str, int]:
        return {split: len(members) for split, members in self._splits.items()}

    def slices(self) -> list[Slice]:
        slices = []
        for split, members in self._splits.items():
            first = 0
            for part in _parts(members):
                slices.append(Slice(split, printable(part[0]), first, len(part), part))
                first += len(part)
        return slices

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        root = os.fspath(self.path)
        is_remote = files.is_remote(self.path)
        load = load_remote if is_remote else load_local
        labels = {name: label for label, name in enumerate(self.class_names)}

        def read_one(name: str) -> Encoded | Rejected:
            label = labels[_place(name)[1]]
            try:
                return Encoded(printable(name), label, load(f"{root}/{name}"))
            except UnusableError as error:
                return Rejected(printable(name), part.split, label, error.reason, str(error))

        inputs = read_ahead(read_one, part.files) if is_remote else map(read_one, part.files)
        return source.decode_blocks(part.split, inputs, self.conversion)


def _parts(members: Iterable[files.ListedFile]) -> Iterator[tuple[str, ...]]:
    """The files' names, as many together as one worker reads at a time."""
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


def _place(name: str) -> tuple[str, str]:
    """The split and the class that a file's relative path means."""
    folders = name.split("/")[:-1]
    split = source.split_named(folders[0]) if folders else None
    classes = folders[1:] if split else folders
    return split or "train", printable(classes[-1]) if classes else UNLABELLED


def load_local(path: str) -> bytes:
    """The bytes of a file. Raises UnusableError where they cannot be had; says why."""
    # Asked before it is opened, since to open a pipe is to wait for somebody who writes into it.
    if not os.path.isfile(path) and os.path.lexists(path):
        raise UnusableError(Reason.WRONG_TYPE, "not a regular file")
    try:
        # Not with `open`, which takes twice as long for a small file.
        descriptor = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            _check_size(size)
            return b"".join(iter(lambda: os.read(descriptor, size + 1), b""))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnusableError(Reason.UNREADABLE, files.why(error)) from None


def load_remote(path: str) -> bytes:
    """As `load_local`, of a file on another machine."""
    try:
        _check_size(files.status(epath.Path(path)).size)
        return epath.Path(path).read_bytes()
    except files.remote_errors() as error:
        raise UnusableError(Reason.UNREADABLE, files.why(error)) from None


def _check_size(size: int) -> None:
    if size > images.MAX_ENCODED_BYTES:
        raise UnusableError(Reason.TOO_LARGE, f"{size} bytes, more than {images.MAX_ENCODED_BYTES}")


def read_ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map`, with some calls made ahead, in threads: for files that are slow to arrive."""
    remaining = iter(items)
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        started = collections.deque(
            pool.submit(function, item) for item in itertools.islice(remaining, _READERS)
        )
        while started:
            result = started.popleft().result()
            started.extend(pool.submit(function, item) for item in itertools.islice(remaining, 1))
            yield result

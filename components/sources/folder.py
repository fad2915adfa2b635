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
from components.ingest.decode import MAX_ENCODED_BYTES, START_BYTES, decode, is_image
from components.ingest.rejection import Reason, Rejected, UnusableError
from components.sources import folder_layout, folder_outline, source
from components.sources.escaping import escape, to_dataset_name
from components.sources.source import UNLABELLED, EncodedExample, Slice, folder_name

FILES_PER_SLICE = 2048
# Slices of large files are limited by their bytes, so that there are enough slices for all cores.
SLICE_BYTES = 64 << 20
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_READERS = 16  # concurrent requests to a remote file system

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """All files below a folder except hidden ones and leftovers of operating systems.

    The contents of the files determine which are images, and the names of the folders that hold
    images determine the splits and classes: see `components.sources.folder_layout`. A file
    that is in no such folder becomes no example: it is rejected.

    Attributes:
      path: the folder, local or remote.
      conversion: size and channels to convert the images to.
      splits: the folders of the splits, `train=DIR,test=DIR`; "" to infer them. Files outside
        these folders are no inputs.
      label_depth: the folder level below the split that is the class, 0 for no classes; None to
        infer it.

    Raises:
      ConfigError: the path is not a folder, the folder holds no files, or its layout is unclear.
      WorkError: a folder below it cannot be listed.
    """

    path: epath.Path
    conversion: Conversion = AS_IS
    splits: str = ""
    label_depth: int | None = None
    _layout: folder_layout.FolderLayout = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        roots = folder_layout.parse_splits(self.splits)
        # In one form, so that the manifest does not depend on the order that the user chose.
        object.__setattr__(self, "splits", folder_layout.format_splits(roots))
        if not self.path.is_dir() or not self._listing:
            raise ConfigError(
                f"{self.path} is not a folder with files in it; pass a folder that holds images"
            )
        try:
            layout = folder_layout.infer(
                self._image_folders, roots=roots, label_depth=self.label_depth
            )
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error}") from None
        object.__setattr__(self, "_layout", layout)

    def __getstate__(self) -> dict[str, Any]:
        # The listing may be long, and a worker needs only the layout and the names of the classes.
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in (*names, "class_names")}

    @functools.cached_property
    def _hidden_and_files(self) -> tuple[list[str], list[files.ListedFile]]:
        """The names of hidden files and folders, and all other files sorted by name."""
        hidden: list[str] = []
        listing = files.list_files(self.path, hidden=hidden)
        return hidden, listing

    @functools.cached_property
    def _listing(self) -> list[files.ListedFile]:
        """All files except hidden ones and leftovers, sorted by name."""
        _, listing = self._hidden_and_files
        return [file for file in listing if not folder_layout.is_leftover(file.name)]

    @functools.cached_property
    def _image_folders(self) -> list[folder_layout.Folder]:
        """The folders that hold at least one image."""
        by_folder: dict[str, list[files.ListedFile]] = {}
        for file in self._listing:
            by_folder.setdefault(file.name.rpartition("/")[0], []).append(file)
        has_image = functools.partial(
            _has_image, os.fspath(self.path), is_remote=files.is_remote(self.path)
        )
        groups = by_folder.values()
        found = (
            read_ahead(has_image, groups) if files.is_remote(self.path) else map(has_image, groups)
        )
        return [
            _split_path(name) for name, is_found in zip(by_folder, found, strict=True) if is_found
        ]

    def _place(self, folder: str) -> folder_layout.Place:
        return self._layout.place(_split_path(folder))

    @functools.cached_property
    def _splits(self) -> dict[str, list[files.ListedFile]]:
        """The files of each split that has any, sorted by name."""
        splits: dict[str, list[files.ListedFile]] = {split: [] for split in SPLITS}
        outside: list[files.ListedFile] = []
        place = functools.cache(self._place)
        for file in self._listing:
            split = place(file.name.rpartition("/")[0]).split
            (outside if split is None else splits[split]).append(file)
        # Without folders that the user named, all images are inside. The other files outside are
        # inputs too, so that the quarantine lists them.
        if outside and not self.splits:
            first = next((split for split in SPLITS if splits[split]), "train")
            splits[first] = sorted([*splits[first], *outside], key=lambda file: file.name)
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
        inputs = self._listing
        if self.splits:
            inputs = sorted(
                itertools.chain.from_iterable(self._splits.values()), key=lambda file: file.name
            )
        return fingerprint(
            [
                (file.name, file.size, file.modified)
                for file in inputs
                if not ids or escape(file.name) not in ids
            ]
        )

    @property
    def settings(self) -> dict[str, Any]:
        # Only the options that are given, so that older manifests of the same dataset stay valid.
        given: dict[str, Any] = {"splits": self.splits} if self.splits else {}
        if self.label_depth is not None:
            given["label_depth"] = self.label_depth
        return self.conversion.as_json() | given

    @functools.cached_property
    def class_names(self) -> list[str]:
        places = [self._layout.place(folder) for folder in self._image_folders]
        names = {place.class_name for place in places if place.split} or {UNLABELLED}
        return sorted(names, key=lambda name: (name == UNLABELLED, name))

    @property
    def num_examples(self) -> Mapping[str, int]:
        return {split: len(members) for split, members in self._splits.items()}

    def outline(self) -> list[str]:
        """A short text for people: the splits, their classes, and what is ignored."""
        hidden, listing = self._hidden_and_files
        return folder_outline.describe(
            {
                split: [file.name.rpartition("/")[0] for file in members]
                for split, members in self._splits.items()
            },
            self._layout,
            class_names=self.class_names,
            leftovers=[file.name for file in listing if folder_layout.is_leftover(file.name)],
            hidden=hidden,
            outside=len(self._listing) - sum(self.num_examples.values()),
        )

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
        place = functools.cache(self._place)

        def label_of(name: str) -> int | None:
            split, class_name = place(name.rpartition("/")[0])
            return None if split is None else labels.get(class_name)

        def read_one(name: str) -> EncodedExample | Rejected:
            label = label_of(name)
            try:
                data = load(f"{root}/{name}")
                if label is not None:
                    return EncodedExample(escape(name), label, data)
                # The layout knows no image here, so a file that is one came later.
                decode(data, self.conversion)
                raise UnusableError(
                    Reason.UNREADABLE, "changed while it was read; run the same command again"
                )
            except UnusableError as error:
                return Rejected(escape(name), part.split, label, error.reason, str(error))

        inputs = read_ahead(read_one, part.files) if is_remote else map(read_one, part.files)
        return source.decode_batches(part.split, inputs, self.conversion)


def _split_path(folder: str) -> folder_layout.Folder:
    return tuple(folder.split("/")) if folder else ()


def _has_image(root: str, members: list[files.ListedFile], *, is_remote: bool) -> bool:
    """Whether at least one file of a folder is an image, by its first bytes."""
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

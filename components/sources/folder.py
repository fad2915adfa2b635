"""A folder of image files as a source, with a folder per class: `train/cat/1.png`, `cat/1.png`."""

import dataclasses
import functools
import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from components.base import file_listing, files
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Input, fingerprint_of_all
from components.data.examples import SPLITS, ExampleBatch
from components.ingest.conversion import AS_IS, Conversion
from components.ingest.decode import decode
from components.ingest.rejection import Reason, Rejected, UnusableError
from components.sources import (
    folder_inference,
    folder_layout,
    folder_outline,
    image_files,
    source,
    split_files,
    split_option,
)
from components.sources.escaping import escape, to_dataset_name
from components.sources.folder_names import Folder, is_leftover, listed, split_path
from components.sources.source import UNLABELLED, EncodedExample, Slice, folder_name

FILES_PER_SLICE = 2048
# Slices of large files are limited by their bytes, so that there are enough slices for all cores.
SLICE_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """All files below a folder except hidden ones and leftovers of operating systems.

    The contents of the files determine which are images, and the names of the folders that hold
    images determine the splits and classes: see `components.sources.folder_layout`. A file
    that is in no such folder becomes no example: it is rejected. A folder that links lead to is
    read once, under one name.

    Attributes:
      path: the folder, local or remote.
      conversion: size and channels to convert the images to.
      splits: the folders of the splits, `train=DIR,test=DIR`; "" to infer them. Files outside
        these folders are no inputs.
      label_depth: the folder level below the split that is the class, 0 for no classes; None to
        infer it.

    Raises:
      ConfigError: the path is not a folder, the folder holds no files, its layout is unclear, or
        names of files say that images are held out, which names of folders do not.
      WorkError: a folder below it cannot be listed.
    """

    path: epath.Path
    conversion: Conversion = AS_IS
    splits: str = ""
    label_depth: int | None = None
    _layout: folder_layout.FolderLayout = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        roots = split_option.parse_splits(self.splits)
        # In one form, so that the manifest does not depend on the order that the user chose.
        object.__setattr__(self, "splits", split_option.format_splits(roots))
        if not self.path.is_dir() or not self._listing:
            raise ConfigError(
                f"{self.path} is not a folder with files in it; pass a folder that holds images"
            )
        try:
            layout = folder_inference.infer(
                self._image_folders, roots=roots, label_depth=self.label_depth
            )
            if not layout.has_splits:
                self._check_names_of_files()
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error}") from None
        object.__setattr__(self, "_layout", layout)

    def __getstate__(self) -> dict[str, Any]:
        # The listing may be long, and a worker needs only the layout and the names of the classes.
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in (*names, "class_names")}

    @functools.cached_property
    def _found(self) -> file_listing.Listing:
        return file_listing.list_files(self.path)

    @functools.cached_property
    def _listing(self) -> list[file_listing.ListedFile]:
        """All files except hidden ones and leftovers, sorted by name."""
        return [file for file in self._found.files if not is_leftover(file.name)]

    @functools.cached_property
    def _image_folders(self) -> list[Folder]:
        """The folders that hold at least one image."""
        by_folder: dict[str, list[file_listing.ListedFile]] = {}
        for file in self._listing:
            by_folder.setdefault(file.name.rpartition("/")[0], []).append(file)
        groups = by_folder.values()
        found = (
            image_files.read_ahead(self._has_image, groups)
            if files.is_remote(self.path)
            else map(self._has_image, groups)
        )
        return [
            split_path(name) for name, is_found in zip(by_folder, found, strict=True) if is_found
        ]

    def _has_image(self, members: Sequence[file_listing.ListedFile]) -> bool:
        return image_files.has_image(
            os.fspath(self.path), members, is_remote=files.is_remote(self.path)
        )

    def _check_names_of_files(self) -> None:
        """Raises ConfigError if images that would all become train are held out by their names."""
        held_out = set(split_files.find_held_out([file.name for file in self._listing]))
        if held_out and self._has_image([file for file in self._listing if file.name in held_out]):
            found = listed(map(split_path, held_out), kind="files")
            raise ConfigError(
                f"{found}: these names seem to say validation or test, but only folders make "
                "splits; move the files into folders of their own, such as train and test, or use "
                "--splits train=. if all images are for training"
            )

    @property
    def folders(self) -> list[epath.Path]:
        """The folder itself, and every folder below it, through links, that holds files."""
        names = {file.name.rpartition("/")[0] for file in self._listing}
        return [self.path, *(self.path / name for name in sorted(names) if name)]

    def _place(self, folder: str) -> folder_layout.Place:
        return self._layout.place(split_path(folder))

    @functools.cached_property
    def _splits(self) -> dict[str, list[file_listing.ListedFile]]:
        """The files of each split that has any, sorted by name."""
        splits: dict[str, list[file_listing.ListedFile]] = {split: [] for split in SPLITS}
        outside: list[file_listing.ListedFile] = []
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
        return fingerprint_of_all(
            (file.name, file.size, file.modified)
            for file in inputs
            if not ids or escape(file.name) not in ids
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
        return folder_outline.describe(
            {
                split: (file.name.rpartition("/")[0] for file in members)
                for split, members in self._splits.items()
            },
            self._layout,
            class_names=self.class_names,
            ignored=folder_outline.Ignored(
                leftovers=[file.name for file in self._found.files if is_leftover(file.name)],
                hidden=self._found.hidden,
                repeated=self._found.repeated,
                outside=len(self._listing) - sum(self.num_examples.values()),
            ),
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
        if not is_remote and not any(os.path.lexists(f"{root}/{name}") for name in part.files):
            # Otherwise a worker without the folder would put its share of it into quarantine.
            raise WorkError(
                f"none of the {len(part.files):,} files of a slice of {root} is on the machine "
                "that reads it; give all workers the folder under this path, and run the same "
                "command again"
            )
        load = image_files.load_remote if is_remote else image_files.load_local
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

        inputs = (
            image_files.read_ahead(read_one, part.files) if is_remote else map(read_one, part.files)
        )
        return source.decode_batches(part.split, inputs, self.conversion)


def _group_for_slices(members: Iterable[file_listing.ListedFile]) -> Iterator[tuple[str, ...]]:
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

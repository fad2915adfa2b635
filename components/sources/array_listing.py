"""Finds the arrays at a path: in a NumPy file, in a folder, or in files that belong together."""

import dataclasses
import zipfile
from collections.abc import Iterable

from etils import epath

from components.base import console
from components.base.errors import ConfigError
from components.sources.array_file import open_stream
from components.sources.array_names import ArrayKind, ArrayName, parse_array_name
from components.sources.escaping import escape
from components.sources.image_files import IMAGE_SUFFIXES
from components.sources.source import split_from_name

KNOWN_NAMES = (
    "train_images, train_labels, val_images, … (MedMNIST), x_train, y_train, x_test, … (Keras), "
    "images and labels, x and y, data and target, or one array of any name"
)
_ARRAY_SUFFIXES = (".npy", ".npz")
# Files beside arrays that explain them.
_NOTE_SUFFIXES = (".txt", ".md", ".json", ".csv")


@dataclasses.dataclass(frozen=True)
class ListedArray:
    """An array in a file, which has not been read.

    Attributes:
      label: its name, for messages.
      path: the file.
      member: name of the archive's member; "" for an .npy file.
      name: the meaning of its name and of those of its file and folder; None if they have none.
    """

    label: str
    path: epath.Path
    member: str
    name: ArrayName | None


def is_numpy(path: epath.Path) -> bool:
    """Whether a path is an .npz or .npy file, or a folder of them.

    The files are directly in the folder, or in folders of splits that hold nothing else. A folder
    with images or other folders beside .npz files is a folder of images.
    """
    if not path.is_dir():
        return path.suffix in _ARRAY_SUFFIXES
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    if any(entry.suffix == ".npy" for entry in entries):
        return True
    if any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in entries):
        return False
    # The order of these checks matters: there may be a million files, and `is_dir` takes time.
    has_archive = any(entry.suffix == ".npz" for entry in entries)
    split_folders = _split_folders(entries)
    if not has_archive:
        return bool(split_folders)
    return all(entry in split_folders or not entry.is_dir() for entry in entries)


def find_arrays(path: epath.Path) -> list[ListedArray]:
    """Every array at a path; of a file with one array that belongs to others, theirs too.

    Args:
      path: a path for which `is_numpy` holds.

    Raises:
      ConfigError: of files that belong together, one holds several arrays.
    """
    if not path.is_dir():
        own = _arrays_of_file(path, split=None, prefix="")
        return _with_siblings(path, own) if len(own) == 1 else own
    if array_files := [file for file in _visible(path) if file.suffix in _ARRAY_SUFFIXES]:
        is_one = len(array_files) == 1
        return [
            array
            for file in array_files
            for array in _arrays_of_file(
                file,
                split=None if is_one or file.suffix == ".npy" else _split_of_file(file),
                prefix="" if is_one or file.suffix == ".npy" else f"{file.name}: ",
            )
        ]
    return [
        array
        for folder in _split_folders(_visible(path))
        for file in _visible(folder)
        if file.suffix in _ARRAY_SUFFIXES
        for array in _arrays_of_file(
            file,
            split=split_from_name(folder.name),
            prefix=f"{folder.name}/{'' if file.suffix == '.npy' else f'{file.name}: '}",
        )
    ]


def holds_arrays_itself(folder: epath.Path) -> bool:
    """Whether a folder for which `is_numpy` holds has array files directly in it."""
    return any(file.suffix in _ARRAY_SUFFIXES for file in _visible(folder))


def _visible(folder: epath.Path) -> list[epath.Path]:
    """The entries of a folder that are not hidden, sorted."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _split_folders(entries: Iterable[epath.Path]) -> list[epath.Path]:
    """Those of the entries that are folders of a split with arrays and nothing else."""
    return [
        entry
        for entry in entries
        if split_from_name(entry.name) and entry.is_dir() and _holds_only_arrays(entry)
    ]


def _holds_only_arrays(folder: epath.Path) -> bool:
    suffixes = {entry.suffix for entry in _visible(folder)}
    return bool(suffixes & set(_ARRAY_SUFFIXES)) and suffixes <= {
        *_ARRAY_SUFFIXES,
        *_NOTE_SUFFIXES,
    }


def _arrays_of_file(path: epath.Path, *, split: str | None, prefix: str) -> list[ListedArray]:
    """The arrays of a file.

    Args:
      path: an .npy file or .npz archive.
      split: the split of arrays whose names say none.
      prefix: the beginning of their labels.
    """
    if path.suffix == ".npy":
        return [ListedArray(f"{prefix}{path.stem}", path, "", _with_split(path.stem, split))]
    members = [member.removesuffix(".npy") for member in _npy_members(path)]
    names = {member: _with_split(member, split) for member in members}
    if len(members) == 1 and names[members[0]] is None:
        # The name of the file counts, as NumPy calls an array without a name arr_0.
        name = parse_array_name(path.stem)
        names[members[0]] = name if name is not None and name.kind != ArrayKind.ROWS else None
    return [
        ListedArray(f"{prefix}{member}", path, f"{member}.npy", names[member]) for member in members
    ]


def _split_of_file(path: epath.Path) -> str | None:
    """The split in the name of one of several archives; None if there is none.

    Raises:
      ConfigError: it may be the validation or the test split, as in `holdout.npz`.
    """
    name = parse_array_name(path.stem)
    if name is not None and name.kind == ArrayKind.OTHER and name.split is None:
        raise ConfigError(
            f"{path}: its name does not say to which split its arrays belong; rename it to a name "
            "with train, validation or test, or move it away"
        )
    return None if name is None else name.split


def _with_split(array: str, split: str | None) -> ArrayName | None:
    """The meaning of an array's name, completed by a split if the name has none."""
    name = parse_array_name(array)
    if name is None or name.split is not None or name.kind in (ArrayKind.COLUMN, ArrayKind.OTHER):
        return name
    return dataclasses.replace(name, split=split)


def _with_siblings(path: epath.Path, own: list[ListedArray]) -> list[ListedArray]:
    """The arrays of all files that belong together, if the file of `own` is one of several.

    Args:
      path: a file of one array.
      own: that array.

    Raises:
      ConfigError: a file holds several arrays.
    """
    own_name = parse_array_name(path.stem)
    if own_name is None or own_name.kind not in (ArrayKind.IMAGES, ArrayKind.LABELS):
        return own
    named = [
        (file, name)
        for file in _visible(path.parent)
        if file.suffix == path.suffix and (name := parse_array_name(file.stem)) is not None
    ]
    prefixes = [name.text for _, name in named if name.kind == ArrayKind.IMAGES]

    def dataset(name: ArrayName) -> str:
        """The text of the images that an array belongs to."""
        matches = [
            text for text in prefixes if f"{name.text}-".startswith(f"{text}-" if text else "")
        ]
        return (
            name.text if name.kind == ArrayKind.IMAGES else max(matches, key=len, default=name.text)
        )

    belonging = []
    for file, name in named:
        is_one_of_them = dataset(name) == dataset(own_name)
        if name.kind in (ArrayKind.IMAGES, ArrayKind.LABELS):
            is_one_of_them = is_one_of_them and name.scheme == own_name.scheme
        elif name.kind == ArrayKind.OTHER or (
            file.suffix == ".npz" and len(_npy_members(file)) != 1
        ):
            continue
        if is_one_of_them:
            belonging.append((file, name))
    if len(belonging) < 2:
        return own
    arrays = [ListedArray(str(file), *_only_array(file), name) for file, name in belonging]
    console.say(f"reading {enumerate_names(file.name for file, _ in belonging)} as one dataset")
    return arrays


def _only_array(path: epath.Path) -> tuple[epath.Path, str]:
    """The file and the archive member of a file's only array.

    Raises:
      ConfigError: the file holds more or fewer arrays.
    """
    if path.suffix == ".npy":
        return path, ""
    members = _npy_members(path)
    if len(members) != 1:
        raise ConfigError(
            f"{path} holds {len(members)} arrays, but files that are read together hold one each; "
            f"save all arrays in one .npz, and name them {KNOWN_NAMES}"
        )
    return path, members[0]


def _npy_members(path: epath.Path) -> list[str]:
    """Names of the arrays in an .npz archive."""
    with open_stream(path) as file, zipfile.ZipFile(file) as archive:
        return [name for name in archive.namelist() if name.endswith(".npy")]


def enumerate_names(names: Iterable[str], limit: int = 12) -> str:
    """The names, separated by commas; at most the first `limit`."""
    names = [escape(name) for name in names]
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if names[limit:] else "")

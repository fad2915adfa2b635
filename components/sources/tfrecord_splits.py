"""Assigns TFRecord files to splits by their names and those of their folders."""

import collections
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from components.base.errors import ConfigError
from components.sources.escaping import escape
from components.sources.split_names import SplitCandidate, read_siblings, read_split

# The names at one position of all paths, such as the second part of the file's name.
_Candidates = Mapping[tuple[str, int], Mapping[str, SplitCandidate]]


class FileSplit(NamedTuple):
    """The split of a file.

    Attributes:
      split: its split.
      prefix: the part of the file's name before the split.
      is_named: whether a name says the split; otherwise it is train.
    """

    split: str
    prefix: str
    is_named: bool


class _Part(NamedTuple):
    """A part of a file's path.

    Attributes:
      text: the part.
      place: where in the path it is; parts at the same place of other files are beside it.
      prefix: the file's name before the part; all of it before the extension for other parts.
    """

    text: str
    place: tuple[str, int]
    prefix: str


def assign_splits(root: str, names: Sequence[str]) -> dict[str, FileSplit]:
    """Assigns files to splits.

    The last part of a file's name that is the name of a split decides: `test_of_cats-train` is
    train. If there is none, the folders between the root and the file do, then the root.

    Args:
      root: name of the folder that holds all files.
      names: paths of the files relative to it.

    Raises:
      ConfigError: a name may be that of a split that is held out, but it is not clear.
    """
    parts = {name: _file_parts(name) for name in names}
    folders = {name: _folder_parts(name) for name in names}
    candidates = _read_parts([*parts.values(), *folders.values()])
    assigned = {}
    for name in names:
        found = _last_split(parts[name], candidates, name)
        prefix = _stem(name) if found is None else found[1].prefix
        split = found[0] if found else _split_of_folders(folders[name], candidates, name)
        if split is None:
            split = _split_of_root(root)
        assigned[name] = FileSplit(split or "train", prefix, split is not None)
    return assigned


def _stem(name: str) -> str:
    return name.rpartition("/")[2].partition(".tfrec")[0]


def _file_parts(name: str) -> list[_Part]:
    """The parts of a file's name; those after the extension come last: `cats.tfrecord-train`."""
    stem, _, ending = name.rpartition("/")[2].partition(".tfrec")
    parts = re.finditer(r"[^-_.]+", stem)
    endings = re.finditer(r"[^-_.]+", ending)
    return [
        *(_Part(part[0], ("stem", n), stem[: part.start()]) for n, part in enumerate(parts)),
        *(_Part(part[0], ("ending", n), stem) for n, part in enumerate(endings)),
    ]


def _folder_parts(name: str) -> list[_Part]:
    folders = name.split("/")[:-1]
    return [_Part(text, ("folder", n), _stem(name)) for n, text in enumerate(folders)]


def _read_parts(paths: Sequence[Sequence[_Part]]) -> _Candidates:
    beside = collections.defaultdict(set)
    for parts in paths:
        for part in parts:
            beside[part.place].add(part.text)
    return {place: read_siblings(texts) for place, texts in beside.items()}


def _last_split(
    parts: Sequence[_Part], candidates: _Candidates, name: str
) -> tuple[str, _Part] | None:
    """The split of the last part that may name one."""
    for part in reversed(parts):
        if candidate := candidates[part.place].get(part.text):
            return _certain_split(candidate, part.text, name), part
    return None


def _split_of_folders(parts: Sequence[_Part], candidates: _Candidates, name: str) -> str | None:
    splits = {
        _certain_split(candidate, part.text, name)
        for part in parts
        if (candidate := candidates[part.place].get(part.text))
    }
    if len(splits) > 1:
        raise ConfigError(
            f"{escape(name)} is in folders of several splits; {_advice(name, sorted(splits)[0])}"
        )
    return splits.pop() if splits else None


def _split_of_root(root: str) -> str | None:
    """The split that the folder of all files says, if no other word is in its name."""
    reading = read_split(root)
    if reading is None or not reading.is_plain:
        return None
    return _certain_split(SplitCandidate(reading, has_partner=False), root, root)


def _certain_split(candidate: SplitCandidate, text: str, name: str) -> str:
    if candidate.reading.split is None or not candidate.is_certain:
        raise ConfigError(
            f"{escape(name)}: {escape(text)} may be the name of a split that is held out, but "
            f"does not say so clearly; {_advice(name, candidate.reading.split or 'test')}"
        )
    return candidate.reading.split


def _advice(name: str, split: str) -> str:
    return (
        "put train, validation or test into the name of the file, as in "
        f"{escape(_stem(name))}-{split}.tfrecord"
    )

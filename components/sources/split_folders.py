"""Finds the level of folders that are the splits of a dataset, by their names."""

import collections
from collections.abc import Iterable, Sequence

from components.base.errors import ConfigError
from components.data.examples import SPLITS
from components.sources.folder_layout import FolderLayout
from components.sources.folder_names import Folder, listed, path_of, shortened
from components.sources.split_names import SplitCandidate, is_fold, read_siblings, read_split
from components.sources.split_option import format_splits

# The names that may be names of splits, by level and name.
_Candidates = dict[tuple[int, str], SplitCandidate]


def find_splits(folders: Sequence[Folder]) -> FolderLayout:
    """The layout of the splits by the names of folders, before classes are searched for.

    Args:
      folders: the folders that hold images.

    Raises:
      ConfigError: the names may be read in several ways.
    """
    candidates = _read_candidates(folders)
    if not candidates:
        return FolderLayout()
    level = next(
        (
            number
            for number in range(max(map(len, folders)))
            if all(
                len(folder) > number and _is_certain(candidates.get((number, folder[number])))
                for folder in folders
            )
        ),
        None,
    )
    if level is None:
        raise _incomplete(folders, candidates)
    split_of = {folder: candidates[level, folder[level]].reading.split or "" for folder in folders}
    names: dict[str, str] = {folder[level]: split for folder, split in split_of.items()}
    _check_one_folder_per_split(
        names, roots=_suggestion({folder[: level + 1] for folder in folders}, candidates, level)
    )
    _check_parents(folders, level, names)
    repeated = [level]
    for other in sorted({number for number, _ in candidates} - {level}):
        if _repeats(folders, candidates, split_of, level, other):
            repeated.append(other)
    return FolderLayout(
        split_names=tuple(sorted(names.items())),
        split_levels=tuple(repeated),
        below_split=len({folder[:level] for folder in folders}) == 1,
    )


def _is_certain(candidate: SplitCandidate | None) -> bool:
    return candidate is not None and candidate.is_certain


def _read_candidates(folders: Iterable[Folder]) -> _Candidates:
    names_by_level = collections.defaultdict(set)
    for folder in folders:
        for level, name in enumerate(folder):
            names_by_level[level].add(name)
    return {
        (level, name): candidate
        for level, names in names_by_level.items()
        for name, candidate in read_siblings(names).items()
    }


def _repeats(
    folders: Sequence[Folder],
    candidates: _Candidates,
    split_of: dict[Folder, str],
    level: int,
    other: int,
) -> bool:
    """Whether another level repeats the name of the split everywhere: `seg_train/seg_train`.

    Raises:
      ConfigError: another level says another split.
    """
    marked = [
        folder for folder in folders if len(folder) > other and (other, folder[other]) in candidates
    ]
    several_splits = len(set(split_of.values())) > 1
    is_container = len({folder[: other + 1] for folder in folders}) == 1 and other < level
    for folder in marked:
        name = folder[other]
        candidate = candidates[other, name]
        if candidate.reading.split == split_of[folder]:
            continue
        if is_container and several_splits and not candidate.is_certain:
            continue  # The dataset's own name: `train_test_split/train`.
        if _is_class_named_train(folder, other, candidate, folders, split_of):
            continue
        raise _doubt(
            f"{path_of(folder[: level + 1])} seems to be {split_of[folder]}, and "
            f"{path_of(folder[: other + 1])} {candidate.reading.split or 'held out'}"
        )
    return len(marked) == len(folders) and all(
        candidates[other, folder[other]].reading.split == split_of[folder] for folder in folders
    )


def _is_class_named_train(
    folder: Folder,
    level: int,
    candidate: SplitCandidate,
    folders: Sequence[Folder],
    split_of: dict[Folder, str],
) -> bool:
    """Whether a folder is the class of trains, which is in the train split too: `test/train`."""
    if candidate.reading.split != "train":
        return False
    name = folder[level]
    siblings = {other[level] for other in folders if len(other) > level}
    in_train = any(
        split == "train" and len(other) > level and other[level] == name
        for other, split in split_of.items()
    )
    return in_train and any(read_split(sibling) is None for sibling in siblings)


def _check_one_folder_per_split(names: dict[str, str], *, roots: str) -> None:
    """Raises ConfigError if names of splits differ in more than the split: `trainA`, `testB`."""
    letters = {
        tuple(word for word in reading.rest if len(word) == 1 and word.isalpha())
        for name in names
        if (reading := read_split(name))
    }
    if len(names) > len(set(names.values())) or len(letters) > 1:
        found = ", ".join(f"{shortened(name)} ({split})" for name, split in sorted(names.items()))
        raise _doubt(f"the folders {found} may be splits or parts of different kinds", roots=roots)


def _check_parents(folders: Sequence[Folder], level: int, names: dict[str, str]) -> None:
    """Raises ConfigError if the folders above those of the splits cannot be classes."""
    splits = collections.defaultdict(set)
    for folder in folders:
        splits[folder[:level]].add(names[folder[level]])
    if len(splits) == 1:
        return
    found = listed({folder[: level + 1] for folder in folders})
    if any(is_fold(name) for parent in splits for name in parent):
        raise _doubt(f"{found} seem to be folds of the same images, each with splits of its own")
    if len(set(names.values())) > 1 and max(map(len, splits.values())) == 1:
        raise _doubt(
            f"the splits {found} are in different folders, which may or may not be classes"
        )


def _incomplete(folders: Sequence[Folder], candidates: _Candidates) -> ConfigError:
    """The error if some folders have the names of splits, and others are outside them."""
    # The level with the most certain names, and the outermost of these.
    certain = collections.Counter(
        level for (level, _), candidate in candidates.items() if candidate.is_certain
    )
    level = min(certain or {level: 0 for level, _ in candidates}, key=lambda n: (-certain[n], n))
    inside: set[Folder] = set()
    outside: set[Folder] = set()
    for folder in folders:
        is_inside = len(folder) > level and (level, folder[level]) in candidates
        (inside if is_inside else outside).add(folder[: level + 1])
    unclear = {folder for folder in inside if not candidates[level, folder[level]].is_certain}
    if unclear:
        return _doubt(
            f"{listed(unclear)} may be a split or a class; folders with images: "
            f"{listed({folder[: level + 1] for folder in folders})}",
            roots=_suggestion(inside - unclear, candidates, level),
        )
    seem = "seem to be splits" if len(inside) > 1 else "seems to be a split"
    return _doubt(
        f"{listed(inside)} {seem}, but there are images outside, in {listed(outside)}",
        roots=_suggestion(inside, candidates, level),
    )


def _suggestion(folders: Iterable[Folder], candidates: _Candidates, level: int) -> str:
    """The value of --splits for folders that are named after splits."""
    by_split: dict[str, Folder] = {}
    for folder in sorted(folders):
        by_split.setdefault(candidates[level, folder[level]].reading.split or "", folder)
    return format_splits((by_split[split], split) for split in SPLITS if split in by_split)


def _doubt(found: str, *, roots: str = "") -> ConfigError:
    return ConfigError(
        f"{found}; name the folders to read with --splits {roots or 'train=DIR,test=DIR'} (others "
        "are left out), or use --splits train=. if all of them are classes"
    )

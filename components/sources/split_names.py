"""Recognizes names of splits, and the other words in such names.

People name splits in many ways: `train`, `training_set`, `train2017`, `TrainA`, `flowers_test`,
`catstrain` beside `catstest`, `tr` beside `te`. A name is divided into words; a word for a split
makes the name a candidate, and the other words and the names beside it decide how certain it is.
"""

import collections
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from components.sources.source import split_from_name

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_A-Za-z]+")
_LONG = r"train(?:ing)?|test(?:ing)?|val(?:id(?:ation)?)?"
_SPLIT = rf"{_LONG}|dev"
# Words written as one: `trainset`, `testimages`, `xtrain`, `trainval`, `testdev`.
_GLUED = (
    re.compile(rf"({_SPLIT})(sets?|data|datasets?|images?|imgs?|[abxy]|{_SPLIT})"),
    re.compile(r"(x|y|images?|imgs?|data|mini)(train|test|val)"),
)
# A class and a split, written as one word: `catstest`, `testcats`; or an ordinary word: `latest`.
_GLUED_CONTENT = re.compile(rf"(.+?)({_LONG})|({_LONG})(.+)")
# Short names of splits, which may be those of languages or countries as well.
_SHORT = {"tr": "train", "va": "validation", "te": "test", "ts": "test"}
# The images of the Medical Segmentation Decathlon and of nnU-Net.
_SPLIT_BY_WHOLE_NAME = {"imagestr": "train", "imagests": "test"}
# Words for held-out parts that do not say whether they are for validation or for the test.
_UNCLEAR = {"holdout", "heldout", "eval", "evaluation"}
# Words that say nothing about the content.
_PLAIN = {
    *("set", "sets", "data", "dataset", "datasets", "split", "splits", "folder", "dir"),
    *("image", "images", "img", "imgs", "picture", "pictures", "pic", "pics", "photo", "photos"),
    *("jpg", "jpeg", "png", "file", "files", "sample", "samples", "example", "examples"),
    *("all", "full", "raw", "new", "final", "frame", "frames", "jpegimages"),
}
_FOLD = re.compile(r"(k?folds?|cv|splits?)[ _-]?\d+", re.I)


class SplitReading(NamedTuple):
    """A name, read as the name of a split.

    Attributes:
      split: the split; None if the name says several or is unclear (`trainval`, `holdout`).
      rest: the other words of the name, in lower case.
      is_plain: whether the other words say nothing about the content, as in `train_images_2017`.
    """

    split: str | None
    rest: tuple[str, ...]
    is_plain: bool


class SplitCandidate(NamedTuple):
    """A name that may be that of a split.

    Attributes:
      reading: the name, read as that of a split.
      has_partner: whether a name beside it has the same other words, and another split.
    """

    reading: SplitReading
    has_partner: bool

    @property
    def is_certain(self) -> bool:
        """Whether it is the name of a split; otherwise it may be that of a class."""
        return self.reading.split is not None and (self.reading.is_plain or self.has_partner)


def read_split(name: str) -> SplitReading | None:
    """Reads a name as the name of a split; None if it has no word for a split."""
    exact = split_from_name(name) or _SPLIT_BY_WHOLE_NAME.get(name.lower())
    if exact:
        return SplitReading(exact, (), True)
    splits = set()
    rest = []
    for word in _words(name):
        if word in _UNCLEAR:
            splits |= {"validation", "test"}
        elif split := split_from_name("test" if word == "tests" else word):
            splits.add(split)
        else:
            rest.append(word)
    if not splits:
        return None
    is_plain = all(word in _PLAIN or word.isdigit() or len(word) == 1 for word in rest)
    return SplitReading(splits.pop() if len(splits) == 1 else None, tuple(rest), is_plain)


def read_siblings(names: Iterable[str]) -> dict[str, SplitCandidate]:
    """Reads the names of siblings; returns those that may name a split.

    Alone, `train_station` names no split. `test_tube` may be a class, but its images may be a test
    split too, which must not join train: it is a candidate that is not certain.
    """
    names = set(names)
    clear = {name: reading for name in names if (reading := read_split(name))}
    hidden = {
        name: reading for name in names - clear.keys() if (reading := _read_hidden_split(name))
    }
    splits_by_rest = collections.defaultdict(set)
    for reading in (*clear.values(), *hidden.values()):
        splits_by_rest[reading.rest].add(reading.split)
    contents = {tuple(_words(name)) for name in names} if hidden else set()
    candidates = {}
    for name, reading in (clear | hidden).items():
        # `flowers_train` is certain only beside `flowers_test`, and so is `tr` beside `te`.
        candidate = SplitCandidate(
            reading, has_partner=len(splits_by_rest[reading.rest] - {None}) > 1
        )
        # `catstest` is a word like any other, unless `cats` is beside it.
        is_word = name in hidden and reading.rest not in contents
        if candidate.is_certain or not (is_word or reading.split == "train"):
            candidates[name] = candidate
    return candidates


def is_generic(name: str) -> bool:
    """Whether a folder's name says nothing about its content, like `images` or `raw_data`."""
    words = _words(name)
    return bool(words) and all(word in _PLAIN for word in words)


def is_fold(name: str) -> bool:
    """Whether a folder is one fold of several of the same images, for cross-validation."""
    return _FOLD.fullmatch(name) is not None


def _read_hidden_split(name: str) -> SplitReading | None:
    """Reads a name whose word for a split may be an ordinary word or a part of one."""
    splits: set[str | None] = set()
    rest: list[str] = []
    for word in _words(name):
        if short := _SHORT.get(word):
            splits.add(short)
        elif match := _GLUED_CONTENT.fullmatch(word):
            splits.add(split_from_name(match[2] or match[3]))
            rest.append(match[1] or match[4])
        else:
            rest.append(word)
    return SplitReading(splits.pop(), tuple(rest), False) if len(splits) == 1 else None


def _words(name: str) -> list[str]:
    """The words of a name in lower case: `TrainImages-2017` -> train, images, 2017."""
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name)
    joined = re.sub(r"(?i)(hold|held)[ _-]?out", "holdout", name)
    words: list[str] = []
    for word in map(str.casefold, _WORD.findall(joined)):
        glued = next((match for glue in _GLUED if (match := glue.fullmatch(word))), None)
        words += glued.groups() if glued else [word]
    return words

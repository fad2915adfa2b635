"""Reads the names of folders: which ones stand for a split, and of which other words they consist.

People name the folders of splits in many ways: `train`, `training_set`, `train2017`, `TrainA`,
`flowers_test`. A name is split into words; a word for a split makes the name a candidate, and the
other words decide how certain it is.
"""

import re
from typing import NamedTuple

from components.sources.source import split_from_name

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_A-Za-z]+")
_SPLIT = r"train(?:ing)?|test(?:ing)?|val(?:id(?:ation)?)?|dev"
# Words written as one: `trainset`, `testimages`, `xtrain`, `trainval`, `testdev`.
_GLUED = (
    re.compile(rf"({_SPLIT})(sets?|data|datasets?|images?|imgs?|[abxy]|{_SPLIT})"),
    re.compile(r"(x|y|images?|imgs?|data|mini)(train|test|val)"),
)
# The images of the Medical Segmentation Decathlon and of nnU-Net.
_SPLIT_BY_WHOLE_NAME = {"imagestr": "train", "imagests": "test"}
# Parts that are held out, without saying whether for validation or for the test.
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
    """A folder's name, read as the name of a split.

    Attributes:
      split: the split; None if the name says several or is unclear (`trainval`, `holdout`).
      rest: the other words of the name, in lower case.
      is_plain: whether the other words say nothing about the content, as in `train_images_2017`.
    """

    split: str | None
    rest: tuple[str, ...]
    is_plain: bool


def read_split(name: str) -> SplitReading | None:
    """Reads a folder's name as the name of a split; None if it has no word for a split."""
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


def is_generic(name: str) -> bool:
    """Whether a folder's name says nothing about its content, like `images` or `raw_data`."""
    words = _words(name)
    return bool(words) and all(word in _PLAIN for word in words)


def is_fold(name: str) -> bool:
    """Whether a folder is one fold of several of the same images, for cross-validation."""
    return _FOLD.fullmatch(name) is not None


def _words(name: str) -> list[str]:
    """The words of a name in lower case: `TrainImages-2017` -> train, images, 2017."""
    joined = re.sub(r"(?i)(hold|held)[ _-]?out", "holdout", name)
    words: list[str] = []
    for word in map(str.lower, _WORD.findall(joined)):
        glued = next((match for glue in _GLUED if (match := glue.fullmatch(word))), None)
        words += glued.groups() if glued else [word]
    return words

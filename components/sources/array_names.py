"""Reads the names of arrays and of their files: their content, and their split.

`x_train`, `train_images`, `kmnist-test-imgs` and `testLabels` are images or labels of a split.
`split` says for each image to which split it belongs, and `train_idx` which images belong to train.
"""

import dataclasses
import enum
import re

from components.sources.split_names import read_split

_IMAGES = {"images", "image", "imgs", "img", "x", "data", "pixels"}
_LABELS = {"labels", "label", "y", "target", "targets"}
# Words for labels that may as well be the names of the classes, or one of several labels.
_CLASSES = {"class", "classes", "category", "categories"}
_COLUMN = {"split", "splits", "subset", "subsets", "set", "partition", "fold", "folds", "usage"}
_ROWS = {"idx", "idxs", "ind", "inds", "index", "indices", "indexes", "rows", "mask", "is"}
# The words for images and labels that belong together in the names of two files.
_SCHEMES = {"x": "xy", "y": "xy", "data": "data", "target": "data", "targets": "data"}


class ArrayKind(enum.Enum):
    """The content of an array."""

    IMAGES = "images"
    LABELS = "labels"
    COLUMN = "the split of each image"
    ROWS = "the images of a split"
    OTHER = "something else that a split is named after"


@dataclasses.dataclass(frozen=True)
class ArrayName:
    """The name of an array, or of a file with one array.

    Attributes:
      kind: the content of the array.
      split: the split in the name; None if there is none.
      text: the other words: those before the word for images, as `kmnist`, or those beside the word
        for labels, as `fine`; joined by hyphens.
      scheme: the same for the words for images and labels that belong together.
    """

    kind: ArrayKind
    split: str | None
    text: str = ""
    scheme: str = "images"

    @property
    def role(self) -> str:
        """The split and the content of the array, for messages."""
        return f"{self.split or 'train'} {self.kind.value}"


def parse_array_name(name: str) -> ArrayName | None:
    """Reads the name of an array; None if it names neither a content nor a split."""
    splits: set[str | None] = set()
    words: list[str] = []
    for token in re.split(r"[\W_]+", name):
        reading = read_split(token) if token else None
        if reading is not None and _is_known(reading.rest):
            splits.add(reading.split)
            words += reading.rest
        elif token:
            words.append(token.lower())
    split = splits.pop() if len(splits) == 1 else None
    if _COLUMN & set(words) and not set(words) & (_LABELS | _CLASSES):
        others = [word for word in words if word not in _COLUMN | _IMAGES]
        return ArrayName(ArrayKind.ROWS if split else ArrayKind.COLUMN, split, "-".join(others))
    # Several splits, or a word such as `holdout`.
    if splits or (split is None and read_split(name) is not None):
        return ArrayName(ArrayKind.OTHER, None)
    first = next((place for place, word in enumerate(words) if word in _IMAGES), None)
    if first is not None and all(word in _IMAGES for word in words[first:]):
        scheme = next((_SCHEMES[word] for word in words[first:] if word in _SCHEMES), "images")
        return ArrayName(ArrayKind.IMAGES, split, "-".join(words[:first]), scheme)
    if set(words) & (_LABELS | _CLASSES):
        scheme = next((_SCHEMES[word] for word in words if word in _SCHEMES), "images")
        text = "-".join(word for word in words if word not in _LABELS | _IMAGES)
        return ArrayName(ArrayKind.LABELS, split, text, scheme)
    if split is None:
        return None
    others = [word for word in words if word not in _ROWS]
    is_rows = len(others) < len(words) or not words
    return ArrayName(ArrayKind.ROWS if is_rows else ArrayKind.OTHER, split, "-".join(others))


def _is_known(words: tuple[str, ...]) -> bool:
    """Whether all words that are joined with a split's name, as in `xtrain`, have a meaning."""
    return all(word in _IMAGES | _LABELS | _CLASSES | _COLUMN | _ROWS for word in words)

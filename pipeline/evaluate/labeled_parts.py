"""Labeled embeddings for a classifier: which splits it learns from, and which it predicts."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from components.metrics.nearest_neighbors import LabeledVectors
from components.model import embeddings
from components.sources.source import UNLABELLED


@dataclasses.dataclass(frozen=True)
class LabeledParts:
    """The examples that a classifier is fitted to, and those whose labels it predicts.

    Attributes:
      fitted: examples to fit it to, of two classes or more.
      scored: examples whose labels are predicted, at least one.
      choice: examples to choose a setting of the classifier with: those that it is fitted to, and
        those whose labels it should predict. None if the setting is fixed: a choice by the scored
        examples would be biased.
      names: the origins of `fitted`, of the second part of `choice` and of `scored`, in words.
    """

    fitted: LabeledVectors
    scored: LabeledVectors
    choice: tuple[LabeledVectors, LabeledVectors] | None
    names: tuple[str, str, str]

    def described(self, setting: str) -> str:
        """The origin of the examples in words, given the name of the setting that is chosen."""
        fitted, heldout, scored = self.names
        source = f"{setting} chosen on {heldout}" if self.choice else f"{setting} fixed"
        return f"fitted on {fitted}, {source}, scored on {scored}"


def read_files(
    files: Mapping[str, Sequence[epath.PathLike]],
    class_names: Sequence[str],
    *,
    limit: int | None = None,
) -> LabeledParts | None:
    """The parts of embeddings in files: see `divide`.

    Args:
      files: Parquet files of embeddings, at least one for each split.
      class_names: names of the labels, by label. The class `unlabelled` is not a label.
      limit: the largest number of examples to predict; None for all.
    """
    is_label = np.array([name != UNLABELLED for name in class_names], bool)
    if is_label.sum() < 2:
        return None
    return divide(
        {split: _read_labeled(paths, is_label) for split, paths in files.items()}, limit=limit
    )


def _read_labeled(paths: Sequence[epath.PathLike], is_label: np.ndarray) -> LabeledVectors:
    """The embeddings in files that have a label."""
    parts = [(part.means, part.labels) for part in map(embeddings.read, paths)]
    means, labels = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    examples, is_labeled = LabeledVectors(means, labels), is_label[labels]
    return examples if is_labeled.all() else examples[is_labeled]


def divide(
    splits: Mapping[str, LabeledVectors], *, limit: int | None = None
) -> LabeledParts | None:
    """Divides the examples of splits into parts.

    A classifier that is fitted to the train split predicts the labels of the test split. Its
    setting is the one that predicts most labels of the validation split. Without that split, the
    last tenth of train takes its place, and the setting is chosen by fitting to the rest of train.
    Without a test split, the labels of the validation split or of that tenth are predicted, with a
    fixed setting.

    Args:
      splits: the examples of each split that have a label, in random order.
      limit: the largest number of examples to predict, the first ones; None for all.

    Returns:
      None if the examples to learn from have fewer than two classes, or there are none to predict.
    """
    named = {name: examples for name, examples in splits.items() if len(examples)}
    train, test = named.get("train"), named.get("test")
    # Labels that are not public are not replaced by those of another split.
    if train is None or ("test" in splits and test is None):
        return None
    fitted, heldout, heldout_name = train, named.get("validation"), "validation"
    if heldout is None:
        rest = len(train) - max(1, len(train) // 10)
        fitted, heldout, heldout_name = train[:rest], train[rest:], "the last tenth of train"
    if len(np.unique(fitted.labels)) < 2:
        return None
    if test is not None:
        names = ("train", heldout_name, "test")
        return LabeledParts(train, test[:limit], (fitted, heldout), names)
    fitted_name = "train" if fitted is train else "the rest of train"
    return LabeledParts(fitted, heldout[:limit], None, (fitted_name, "", heldout_name))

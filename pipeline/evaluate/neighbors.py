"""The accuracy of the nearest neighbors of a dataset's embeddings: which splits take which part."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from components.metrics.nearest_neighbors import LabeledVectors, best_k, correct
from components.model import embeddings
from components.sources.source import UNLABELLED

# The number of neighbors if there are no examples to choose it with.
_FIXED_K = 10


@dataclasses.dataclass(frozen=True)
class NeighborScores:
    """Predictions by the nearest neighbors.

    Attributes:
      correct: whether the label of each example is predicted, bool, shape [N].
      k: the number of neighbors.
      splits: where the neighbors, their number and the examples are from, in words.
    """

    correct: np.ndarray
    k: int
    splits: str


def score_files(
    files: Mapping[str, Sequence[epath.PathLike]],
    class_names: Sequence[str],
    *,
    limit: int | None = None,
) -> NeighborScores | None:
    """Predicts labels by the nearest neighbors of embeddings in files: see `score`.

    Args:
      files: Parquet files of embeddings, at least one for each split.
      class_names: names of the labels, by label. The class `unlabelled` is no label.
      limit: the largest number of examples to predict; None for all.
    """
    is_label = np.array([name != UNLABELLED for name in class_names], bool)
    if is_label.sum() < 2:
        return None
    return score(
        {split: _read_labeled(paths, is_label) for split, paths in files.items()}, limit=limit
    )


def _read_labeled(paths: Sequence[epath.PathLike], is_label: np.ndarray) -> LabeledVectors:
    """The embeddings in files that have a label."""
    parts = [(part.means, part.labels) for part in map(embeddings.read, paths)]
    means, labels = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    examples, is_labeled = LabeledVectors(means, labels), is_label[labels]
    return examples if is_labeled.all() else examples[is_labeled]


def score(
    splits: Mapping[str, LabeledVectors], *, limit: int | None = None
) -> NeighborScores | None:
    """Predicts the labels of the test split by the nearest neighbors in the train split.

    The number of neighbors is the one that predicts most labels of the validation split. Without
    that split, the last tenth of train takes its place, and is then not among the examples that its
    neighbors are looked for in. Without a test split, the labels of the validation split or of that
    tenth are predicted, with a fixed number of neighbors: one that was chosen on the same examples
    would be too good.

    Args:
      splits: the examples of each split that have a label, in random order.
      limit: the largest number of examples to predict, the first ones; None for all.

    Returns:
      None if the examples to learn from have less than two classes, or there are none to predict.
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
        k = best_k(fitted, heldout)
        source = f"k chosen on {heldout_name}"
        fitted, scored, scored_name = train, test, "test"
    else:
        k, source = _FIXED_K, "k fixed"
        scored, scored_name = heldout, heldout_name
    predicted = correct(fitted, scored[:limit], [k])[0]
    fitted_name = "train" if fitted is train else "the rest of train"
    return NeighborScores(
        predicted, k, f"fitted on {fitted_name}, {source}, scored on {scored_name}"
    )

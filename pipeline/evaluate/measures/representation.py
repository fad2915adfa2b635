"""The quality of embeddings: how well they separate the classes."""

import numpy as np

from components.metrics import linear_probe
from components.metrics.mean import Mean
from components.metrics.nearest_neighbors import best_k, correct
from components.sources.source import UNLABELLED
from pipeline.evaluate.labeled_parts import LabeledParts
from pipeline.evaluate.measures.measure import Measured, Subject

# The settings of the classifiers if there are no examples to choose them with.
_FIXED_K = 10
_FIXED_PENALTY = 1e-3

WITHOUT_LABELS = "it needs labels of two or more classes"


class NeighborMeasure:
    """The fraction of labels that the nearest neighbors of embeddings predict."""

    names: tuple[str, ...] = ("knn_accuracy",)

    def measure(self, subject: Subject) -> Measured:
        if (parts := subject.labeled_parts) is None:
            return Measured(not_measured={"knn_accuracy": WITHOUT_LABELS})
        k = best_k(*parts.choice) if parts.choice else _FIXED_K
        is_correct = correct(parts.fitted, parts.scored, [k])[0]
        return Measured(
            {"knn_accuracy": Mean.of_proportion(is_correct)},
            _by_example("knn_accuracy", subject, parts, is_correct),
            protocol={
                "knn_k": k,
                "knn_splits": parts.described("k"),
                "knn_examples": len(is_correct),
            },
        )


class ProbeMeasure:
    """The fraction of labels that a linear classifier of the embeddings predicts."""

    names: tuple[str, ...] = ("linear_probe_accuracy",)

    def measure(self, subject: Subject) -> Measured:
        if (parts := subject.labeled_parts) is None:
            return Measured(not_measured={"linear_probe_accuracy": WITHOUT_LABELS})
        probe, penalty = None, _FIXED_PENALTY
        if parts.choice:
            probe, penalty = linear_probe.best_probe(*parts.choice)
        # Without a validation split, the probe of the choice has not seen the last tenth of train.
        if parts.choice is None or parts.choice[0] is not parts.fitted:
            probe = linear_probe.fit(parts.fitted, penalty=penalty, start=None)
        assert probe is not None
        is_correct = np.asarray(probe.predict(parts.scored.vectors) == parts.scored.labels)
        return Measured(
            {"linear_probe_accuracy": Mean.of_proportion(is_correct)},
            _by_example("linear_probe_accuracy", subject, parts, is_correct),
            protocol={
                "linear_probe_penalty": penalty,
                "linear_probe_splits": parts.described("penalty"),
                "linear_probe_examples": len(is_correct),
            },
        )


def _by_example(
    name: str, subject: Subject, parts: LabeledParts, is_correct: np.ndarray
) -> dict[str, np.ndarray]:
    """Whether the label of each scored example is predicted, as a metric; NaN without a label.

    Empty if other labels are predicted: without a test split, those of the last tenth of train may
    take the place of the scored split's.
    """
    names = np.array(subject.dataset.class_names)
    is_labeled = names[subject.examples.labels] != UNLABELLED
    if parts.names[2] != subject.split or is_labeled.sum() != len(is_correct):
        return {}
    values = np.full(len(is_labeled), np.nan)
    values[is_labeled] = is_correct
    return {name: values}

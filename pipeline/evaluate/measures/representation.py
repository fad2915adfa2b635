"""What the embeddings are worth: how well they tell the classes apart."""

import numpy as np

from components.metrics.mean import Mean
from components.sources.source import UNLABELLED
from pipeline.evaluate import neighbors
from pipeline.evaluate.measures.measure import Measured, Subject


class NeighborMeasure:
    """How many labels the nearest neighbors of embeddings predict."""

    names: tuple[str, ...] = ("knn_accuracy",)

    def measure(self, subject: Subject) -> Measured:
        scores = neighbors.score_files(
            subject.tables,
            subject.dataset.class_names,
            limit=subject.config.limit_examples or None,
        )
        if scores is None:
            return Measured(not_measured={"knn_accuracy": "it needs labels of two or more classes"})
        return Measured(
            {"knn_accuracy": Mean.of(scores.correct)},
            _by_example(scores, subject),
            protocol={
                "knn_k": scores.k,
                "knn_splits": scores.splits,
                "knn_examples": len(scores.correct),
            },
        )


def _by_example(scores: neighbors.NeighborScores, subject: Subject) -> dict[str, np.ndarray]:
    """Whether the label of each scored example is predicted, if it is their labels that were."""
    names = np.array(subject.dataset.class_names)
    is_labeled = names[subject.examples.labels] != UNLABELLED
    # Without a test split, the last tenth of train may be predicted in place of the scored split.
    if is_labeled.sum() != len(scores.correct) or not scores.splits.endswith(
        f"scored on {subject.split}"
    ):
        return {}
    values = np.full(len(is_labeled), np.nan)
    values[is_labeled] = scores.correct
    return {"knn_accuracy": values}

"""What the embeddings are worth: how well they tell the classes apart."""

from components.metrics.mean import Mean
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
            protocol={
                "knn_k": scores.k,
                "knn_splits": scores.splits,
                "knn_examples": len(scores.correct),
            },
        )

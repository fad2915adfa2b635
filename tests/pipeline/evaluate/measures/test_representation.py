import numpy as np

from components.metrics.mean import Mean
from pipeline.evaluate import neighbors
from pipeline.evaluate.measures.representation import NeighborMeasure


def test_the_neighbors_are_those_of_the_embeddings(subject):
    scored = subject(limit_examples=60)
    expected = neighbors.score_files(scored.tables, scored.dataset.class_names, limit=60)
    measured = NeighborMeasure().measure(scored)
    assert measured.means == {"knn_accuracy": Mean.of(expected.correct)}
    assert measured.protocol == {
        "knn_k": expected.k,
        "knn_splits": expected.splits,
        "knn_examples": 60,
    }
    np.testing.assert_array_equal(measured.by_example["knn_accuracy"], expected.correct)

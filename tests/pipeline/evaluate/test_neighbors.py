import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.metrics.nearest_neighbors import LabeledVectors, best_k, correct
from components.model import embeddings
from pipeline.evaluate import neighbors
from pipeline.evaluate.neighbors import score, score_files

RNG = np.random.default_rng(0)


def overlapping(count: int) -> LabeledVectors:
    """Examples of two classes that cannot be told apart entirely."""
    labels = RNG.integers(0, 2, count)
    vectors = RNG.normal(size=(count, 2)) + labels[:, np.newaxis]
    return LabeledVectors(vectors.astype(np.float32), labels)


def unlabeled() -> LabeledVectors:
    return overlapping(5)[:0]


TRAIN, VALIDATION, TEST = overlapping(305), overlapping(100), overlapping(80)


def test_k_is_chosen_on_validation_and_the_test_split_is_scored():
    scores = score({"train": TRAIN, "validation": VALIDATION, "test": TEST})
    assert scores.k == best_k(TRAIN, VALIDATION)
    # Otherwise, the test would not tell the splits apart.
    assert scores.k != best_k(TRAIN, TEST)
    np.testing.assert_array_equal(scores.correct, correct(TRAIN, TEST, [scores.k])[0])
    assert scores.splits == "fitted on train, k chosen on validation, scored on test"


@pytest.mark.parametrize("splits", [{}, {"validation": unlabeled()}], ids=["none", "unlabeled"])
def test_without_a_validation_split_k_is_chosen_on_the_last_tenth_of_train(splits):
    scores = score({"train": TRAIN, "test": TEST, **splits})
    assert scores.k == best_k(TRAIN[:275], TRAIN[275:])
    # All of train is among the neighbors of the test split.
    np.testing.assert_array_equal(scores.correct, correct(TRAIN, TEST, [scores.k])[0])
    assert scores.splits == "fitted on train, k chosen on the last tenth of train, scored on test"


def test_without_a_test_split_k_is_fixed_and_the_validation_split_is_scored():
    scores = score({"train": TRAIN, "validation": VALIDATION})
    assert scores.k == 10
    np.testing.assert_array_equal(scores.correct, correct(TRAIN, VALIDATION, [10])[0])
    assert scores.splits == "fitted on train, k fixed, scored on validation"


def test_of_a_train_split_alone_the_last_tenth_is_scored():
    scores = score({"train": TRAIN})
    np.testing.assert_array_equal(scores.correct, correct(TRAIN[:275], TRAIN[275:], [10])[0])
    expected = "fitted on the rest of train, k fixed, scored on the last tenth of train"
    assert scores.splits == expected


def test_the_limit_keeps_the_first_examples_and_the_choice_of_k():
    splits = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    scores = score(splits)
    limited = score(splits, limit=30)
    assert limited.k == scores.k
    np.testing.assert_array_equal(limited.correct, scores.correct[:30])


ONE_CLASS = LabeledVectors(TRAIN.vectors, np.ones(len(TRAIN), int))


@pytest.mark.parametrize(
    "splits",
    [
        {"train": TRAIN, "validation": VALIDATION, "test": unlabeled()},
        {"train": unlabeled(), "validation": VALIDATION, "test": TEST},
        {"validation": VALIDATION, "test": TEST},
        {"train": ONE_CLASS, "validation": VALIDATION, "test": TEST},
        {"train": TRAIN[:1], "test": TEST},
    ],
    ids=["test has no labels", "train has none", "no train", "one class", "one example"],
)
def test_without_labels_to_learn_or_to_predict_there_is_no_accuracy(splits):
    assert score(splits) is None


def test_few_examples_are_enough():
    three = LabeledVectors(np.array([[0, 0], [1, 1], [5, 5]], np.float32), np.array([0, 1, 1]))
    assert score({"train": three, "test": TEST}).correct.shape == (80,)


def write(path, examples: LabeledVectors) -> None:
    columns = {
        "id": [str(number) for number in range(len(examples))],
        "label": examples.labels,
        "mean": examples.vectors,
        "log_variance": examples.vectors,
    }
    schema = embeddings.schema(list(columns), examples.vectors.shape[1], {})
    rows = embeddings.record_batch(schema, columns, count=len(examples), split=None, class_names=[])
    pq.write_table(pa.Table.from_batches([rows]), path)


def test_the_files_of_a_split_are_read_in_order_without_unlabelled_examples(tmp_path):
    write(tmp_path / "train-0", TRAIN[:200])
    write(tmp_path / "train-1", TRAIN[200:])
    write(tmp_path / "test", TEST)
    mixed = LabeledVectors(VALIDATION.vectors, VALIDATION.labels.copy())
    mixed.labels[::3] = 2
    write(tmp_path / "validation", mixed)
    files = {
        "train": [tmp_path / "train-0", tmp_path / "train-1"],
        "validation": [tmp_path / "validation"],
        "test": [tmp_path / "test"],
    }
    scores = score_files(files, ["a", "b", "unlabelled"])
    is_labeled = np.arange(100) % 3 > 0
    expected = score({"train": TRAIN, "validation": VALIDATION[is_labeled], "test": TEST})
    assert scores.k == expected.k
    np.testing.assert_array_equal(scores.correct, expected.correct)


@pytest.mark.parametrize("names", [["unlabelled"], ["a", "unlabelled"], ["a"]])
def test_nothing_is_read_without_two_classes(names, monkeypatch):
    monkeypatch.setattr(neighbors.embeddings, "read", lambda path: pytest.fail(f"{path} was read"))
    assert score_files({"train": ["file"]}, names) is None

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.metrics.nearest_neighbors import LabeledVectors
from components.model import embeddings
from pipeline.evaluate import labeled_parts
from pipeline.evaluate.labeled_parts import divide, read_files

RNG = np.random.default_rng(0)


def examples_of(count: int) -> LabeledVectors:
    """Examples of two classes."""
    labels = RNG.integers(0, 2, count)
    vectors = RNG.normal(size=(count, 2)) + labels[:, np.newaxis]
    return LabeledVectors(vectors.astype(np.float32), labels)


def unlabeled() -> LabeledVectors:
    return examples_of(5)[:0]


TRAIN, VALIDATION, TEST = examples_of(305), examples_of(100), examples_of(80)


def check(part: LabeledVectors, expected: LabeledVectors) -> None:
    np.testing.assert_array_equal(part.vectors, expected.vectors)
    np.testing.assert_array_equal(part.labels, expected.labels)


def test_a_setting_is_chosen_on_validation_and_the_test_split_is_scored():
    parts = divide({"train": TRAIN, "validation": VALIDATION, "test": TEST})
    assert parts.choice[0] is parts.fitted is TRAIN
    check(parts.choice[1], VALIDATION)
    check(parts.scored, TEST)
    expected = "fitted on train, k chosen on validation, scored on test"
    assert parts.described("k") == expected


@pytest.mark.parametrize("splits", [{}, {"validation": unlabeled()}], ids=["none", "unlabeled"])
def test_without_a_validation_split_the_setting_is_chosen_on_the_last_tenth_of_train(splits):
    parts = divide({"train": TRAIN, "test": TEST, **splits})
    check(parts.choice[0], TRAIN[:275])
    check(parts.choice[1], TRAIN[275:])
    # All of train is there for the labels of the test split.
    assert parts.fitted is TRAIN
    expected = "fitted on train, k chosen on the last tenth of train, scored on test"
    assert parts.described("k") == expected


def test_without_a_test_split_the_setting_is_fixed_and_the_validation_split_is_scored():
    parts = divide({"train": TRAIN, "validation": VALIDATION})
    assert parts.choice is None
    assert parts.fitted is TRAIN
    check(parts.scored, VALIDATION)
    assert parts.described("k") == "fitted on train, k fixed, scored on validation"


def test_of_a_train_split_alone_the_last_tenth_is_scored():
    parts = divide({"train": TRAIN})
    assert parts.choice is None
    check(parts.fitted, TRAIN[:275])
    check(parts.scored, TRAIN[275:])
    expected = "fitted on the rest of train, k fixed, scored on the last tenth of train"
    assert parts.described("k") == expected


def test_the_limit_keeps_the_first_scored_examples_and_all_others():
    parts = divide({"train": TRAIN, "validation": VALIDATION, "test": TEST}, limit=30)
    check(parts.scored, TEST[:30])
    assert len(parts.fitted) == 305
    assert len(parts.choice[1]) == 100
    assert len(divide({"train": TRAIN}, limit=7).scored) == 7


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
def test_without_labels_to_learn_or_to_predict_there_are_no_parts(splits):
    assert divide(splits) is None


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
    parts = read_files(files, ["a", "b", "unlabelled"], limit=50)
    check(parts.fitted, TRAIN)
    check(parts.choice[1], VALIDATION[np.arange(100) % 3 > 0])
    check(parts.scored, TEST[:50])


@pytest.mark.parametrize("names", [["unlabelled"], ["a", "unlabelled"], ["a"]])
def test_nothing_is_read_without_two_classes(names, monkeypatch):
    monkeypatch.setattr(
        labeled_parts.embeddings, "read", lambda path: pytest.fail(f"{path} was read")
    )
    assert read_files({"train": ["file"]}, names) is None

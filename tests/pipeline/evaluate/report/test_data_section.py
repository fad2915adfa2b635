import dataclasses

import numpy as np
import pytest

from components.base.errors import WorkError
from components.data.dataset_counts import DuplicateCounts
from pipeline.evaluate.report.data_section import data_section
from tests.components.figures.test_page_pictures import picture


def section(dataset, **counts):
    dataset = dataclasses.replace(dataset, counts=dataclasses.replace(dataset.counts, **counts))
    names = dataset.class_names
    return data_section(dataset, names, np.arange(len(names)))


def test_the_counts_are_those_of_the_manifest(example_set):
    shown = section(example_set)
    train, validation = map(example_set.num_examples, ("train", "validation"))
    sizes = f"{train} train, {validation} validation, 100 test examples"
    assert shown.summary == f"{sizes} of 28x28x1 in 10 classes."
    assert shown.account == "All 700 inputs became examples. No image occurs twice."
    assert shown.splits == ["train", "validation", "test"]
    by_label = example_set.counts.examples_by_label
    for label, row in enumerate(shown.classes):
        assert row.counts == [str(by_label[split][label]) for split in shown.splits]


def test_the_images_are_the_first_of_each_class(example_set):
    train = example_set.read("train")
    for label, row in enumerate(section(example_set).classes):
        pixels = picture(row.image.uri)[..., 0]
        first = train.images[train.labels == label][:8, ..., 0]
        assert (pixels[:, :28] == first[0]).all()
        assert (pixels[:, -28:] == first[7]).all()


def test_the_quarantine_and_duplicates_in_two_splits_are_reported(example_set):
    ledger = {
        "train": {"reasons": {"truncated": 2, "a\x1bb": 1}, "classes": {}},
        "test": {"reasons": {"truncated": 3}, "classes": {}},
    }
    duplicates = DuplicateCounts(5, {"train": 2, "train+test": 3})
    account = section(
        example_set, quarantined=6, inputs=706, ledger=ledger, duplicates=duplicates
    ).account
    assert "Of 706 inputs, 6 could not be used" in account
    assert r"5 truncated; 1 a\x1bb." in account
    assert "5 images occur more than once: 3 in train and test, which makes" in account
    alone = section(example_set, duplicates=DuplicateCounts(1, {"train": 1})).account
    assert "1 image occurs more than once, not in two splits." in alone


def test_a_ledger_of_another_form_is_an_error_of_one_line(example_set):
    for ledger in ({"train": {"reasons": 3}}, {"train": 3}, {"train": {}}):
        with pytest.raises(WorkError, match=r"manifest.json is damaged: counts.ledger.train"):
            section(example_set, quarantined=1, ledger=ledger)


def test_of_many_classes_the_first_are_shown(example_set):
    names = [f"class {number}" for number in range(30)]
    shown = section(example_set, class_names=names)
    assert len(shown.classes) == 20
    assert shown.more_classes == "10 more classes are not shown."
    assert shown.classes[15].image is None
    assert shown.classes[15].counts == ["0", "0", "0"]

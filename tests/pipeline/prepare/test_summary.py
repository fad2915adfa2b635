import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.data.dataset_counts import DuplicateCounts
from pipeline.prepare import summary


@pytest.fixture
def printed(example_set, capsys):
    """Prints the summary of a dataset with changed counts; returns the lines."""

    def print_summary(*, policy: str = "keep", first_frames: int = 0, **changes) -> list[str]:
        manifest = SimpleNamespace(config={"duplicates": policy})
        dataset = dataclasses.replace(
            example_set,
            path=Path("out"),
            counts=dataclasses.replace(example_set.counts, **changes),
            artifact=SimpleNamespace(manifest=manifest),
        )
        summary.print_summary(dataset, first_frames=first_frames)
        return capsys.readouterr().err.splitlines()

    return print_summary


def test_the_counts_and_the_dataset_are_printed(printed):
    lines = printed(inputs=7000, kept=7000, image_shape=(28, 28, 1))
    assert lines[0] == "prepare: read 7,000 inputs, kept 7,000 (5.5 MB of pixels)"
    assert lines[1].startswith("prepare: synthetic_garments: ")
    assert len(lines) == 2


def test_the_reasons_of_the_quarantine_are_printed(printed):
    ledger = {
        "train": {"reasons": {"wrong_shape": 2}, "classes": {}},
        "test": {"reasons": {"wrong_shape": 1, "empty": 1}, "classes": {}},
    }
    assert printed(inputs=9, kept=5, ledger=ledger)[0] == (
        "prepare: read 9 inputs, kept 5 (0.0 MB of pixels), quarantined 4 (1 empty, 3 wrong_shape)"
    )


def test_a_quarantine_is_a_warning(printed):
    lines = printed(quarantined=1)
    assert lines[2] == (
        "warning: 1 input in quarantine; out/quarantine/quarantine.jsonl has the reasons; after "
        "fixing inputs, run again with --retry_quarantined, which reads only the quarantined ones"
    )
    assert "2,000 inputs" in printed(quarantined=2000)[2]


def test_images_of_other_shapes_are_a_warning(printed):
    ledger = {"train": {"reasons": {"wrong_shape": 3}, "classes": {}}}
    assert "--image_size and --channels" in printed(ledger=ledger)[2]


def test_classes_without_an_image_are_a_warning(printed):
    classes = {name: {"inputs": 2, "kept": 0} for name in "012345"}
    ledger = {
        "train": {"reasons": {}, "classes": classes},
        "test": {"reasons": {}, "classes": {"1": {"inputs": 1, "kept": 1}}},
    }
    names = [str(number) for number in range(7)]
    [warning] = printed(ledger=ledger, class_names=names)[2:]
    assert warning.startswith("warning: 5 of 7 classes (0, 2, 3, 4, …) have no image, because all")


def test_a_leak_between_splits_is_a_warning_unless_duplicates_were_dropped(printed):
    duplicates = DuplicateCounts(images=3, by_splits={"train": 2, "train+test": 1})
    assert printed(duplicates=duplicates)[2] == (
        "warning: some images are in several splits (1 in train+test); out/duplicates.jsonl lists "
        "them; to keep one of each, use --duplicates drop"
    )
    assert len(printed(duplicates=duplicates, policy="drop")) == 2


def test_files_with_several_frames_are_a_warning(printed):
    assert printed(first_frames=3)[2] == (
        "warning: 3 inputs with several frames (animated PNG or WebP, or MPO), of which only the "
        "first one was read; to use the others, save them as separate files"
    )


def test_findings_are_warnings(example_set, capsys):
    summary.print_summary(example_set, findings=["all images are black", "and small"])
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == ["warning: all images are black", "warning: and small"]


def test_classes_that_differ_only_in_their_unicode_form_are_a_warning(printed):
    names = ["cat", "caf\u00e9", "cafe\u0301"]
    assert printed(class_names=names)[2] == (
        "warning: some class names differ only in the form of their characters ('caf\\xe9' and "
        "'cafe\\u0301'), but are different classes; if that is not intended, give them one name"
    )
    assert len(printed(class_names=names[:2])) == 2

import numpy as np
import pytest

from components.base.errors import WorkError
from components.ingest.rejection import Reason, Rejected
from pipeline.prepare import completeness, shard_plan
from tests.pipeline.prepare.listed_source import (
    SHAPE,
    ListedSource,
    examples,
    plan_runs,
    read_all,
)


def check_shape(items, directory) -> None:
    reports = read_all(ListedSource({"train": items}), directory)
    completeness.check_common_shape("cats", reports, shard_plan.common_shape(reports))


def with_alpha(count: int) -> list[Rejected]:
    return [
        Rejected(f"alpha-{n}", "train", 0, Reason.WRONG_SHAPE, "6x5x4: 4 channels")
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("others", "options"),
    [
        (examples(3, shape=(9, 5, 1)) + examples(4, shape=(9, 9, 1)), "--image_size"),
        (
            examples(3, shape=(9, 5, 1)) + examples(4, shape=(9, 9, 3)),
            "--image_size and --channels",
        ),
        (with_alpha(7), "--channels"),
    ],
)
def test_a_minority_is_not_a_dataset(tmp_path, others, options):
    with pytest.raises(WorkError, match=f"only 6 of 13 images of cats .* 6x5x1, .* {options}$"):
        check_shape(examples(6) + others, tmp_path)


def test_half_of_the_images_are_a_dataset(tmp_path):
    damaged = [Rejected(f"bad-{n}", "train", 0, Reason.UNDECODABLE, "damaged") for n in range(9)]
    check_shape(examples(6) + examples(6, shape=(6, 4, 1)) + damaged, tmp_path)


def check_splits(items, directory, *, validation_fraction=0.0, drop_duplicates=False) -> None:
    source = ListedSource(items)
    reports = read_all(source, directory)
    shards = plan_runs(
        [run for report in reports for run in report.runs if run.shape == SHAPE],
        directory,
        fraction=validation_fraction,
        drop_duplicates=drop_duplicates,
    )
    completeness.check_splits(
        source,
        reports,
        shards,
        shape=SHAPE,
        validation_fraction=validation_fraction,
        work_dir=directory,
    )


def test_splits_with_images_are_accepted(tmp_path):
    check_splits({"train": examples(40), "test": examples(1, split="test")}, tmp_path)


DAMAGED = [Rejected("x", "test", 0, Reason.UNDECODABLE, "damaged PNG")]
COPIES = [(f"train-{n:08d}", np.zeros(SHAPE, np.uint8), 0) for n in range(3)]


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        ({"train": examples(4), "test": []}, {}, "the split test of cats is empty; add images"),
        (
            {"train": examples(4), "test": DAMAGED},
            {},
            r"the split test of cats would be empty: .* the first \(x\) because: damaged PNG; fix",
        ),
        (
            {"train": examples(4), "test": examples(2, split="test", shape=(3, 3, 3))},
            {},
            "all 2 inputs .* the shape 3x3x3 and most images 6x5x1, see --image_size",
        ),
        (
            {"train": COPIES, "test": [("test-00000000", *COPIES[0][1:])]},
            {"drop_duplicates": True},
            "the split train .* because: the same pixels as test-00000000",
        ),
        ({"test": examples(4, split="test")}, {}, "cats has no training images, only test; name"),
        (
            {"train": examples(2)},
            {"validation_fraction": 0.999999},
            "would become the validation split, .* of 0.999999 .*; use --validation_fraction 0, or",
        ),
    ],
)
def test_an_empty_split_is_an_error_of_one_line(tmp_path, items, options, message):
    with pytest.raises(WorkError, match=message) as caught:
        check_splits(items, tmp_path, **options)
    assert "\n" not in str(caught.value)

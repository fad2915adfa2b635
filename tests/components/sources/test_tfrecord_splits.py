import pytest

from components.base.errors import ConfigError
from components.sources.tfrecord_splits import assign_splits


def splits(*names: str, root: str = "x") -> list[str]:
    return [assigned.split for assigned in assign_splits(root, names).values()]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a-train.tfrecord", "a-val.tfrecord-00000-of-00001"], ["train", "validation"]),
        (["test_of_cats-train.tfrecord"], ["train"]),
        (["a.tfrecord-test"], ["test"]),
        (["cats_tr.tfrecord", "cats_te.tfrecord"], ["train", "test"]),
        (["catstrain-0.tfrecord", "catstest-0.tfrecord"], ["train", "test"]),
        (["wiki-train-te.tfrecord", "wiki-train-de.tfrecord"], ["train", "train"]),
        (["ｔｅｓｔ.tfrecord"], ["test"]),
        (["latest.tfrecord"], ["train"]),
        (["train/a", "val/a", "test/a-train"], ["train", "validation", "train"]),
        (["my_train/a", "my_val/a"], ["train", "validation"]),
        (["tr/a", "te/a"], ["train", "test"]),
        (["train/shards/a", "test/shards/a"], ["train", "test"]),
        (["x/test/train_1", "y/a"], ["train", "train"]),
    ],
)
def test_names_of_files_and_folders_say_the_split(names, expected):
    assert splits(*names) == expected


@pytest.mark.parametrize(
    ("root", "expected"), [("test", "test"), ("my_val", "train"), ("cats", "train")]
)
def test_the_root_says_the_split_if_nothing_else_does(root, expected):
    assert splits("cats/a", root=root) == [expected]
    [assigned] = assign_splits(root, ["a"]).values()
    assert assigned.is_named == (root == "test")
    assert splits("val/a", "b-train", root=root) == ["validation", "train"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["eval/a.tfrecord"], "eval/a.tfrecord: eval may be .*, as in a-test.tfrecord"),
        (["train/a", "my_val/a"], "my_val may be .*, as in a-validation.tfrecord"),
        (["cats/a", "catstest/a"], "catstest may be"),
        (["holdout-0.tfrecord"], "holdout may be"),
        (["TestTube-0.tfrecord"], "TestTube may be"),
        (["train/test/a"], "train/test/a is in folders of several splits; put"),
        (["eval\x1b[31m/a"], "eval%1B.*: eval%1B.* may be"),
    ],
)
def test_a_name_that_may_be_held_out_is_an_error_of_one_line(names, message):
    with pytest.raises(ConfigError, match=message) as caught:
        splits(*names)
    assert "\n" not in str(caught.value)


def test_the_prefix_is_what_comes_before_the_split():
    names = [
        "cats-train.tfrecord-0",
        "d/cats-x.tfrecord-0",
        "cats.tfrecord-test",
        "val/cats.tfrecord",
    ]
    assigned = assign_splits("x", names)
    assert [assigned[name].prefix for name in names] == ["cats-", "cats-x", "cats", "cats"]

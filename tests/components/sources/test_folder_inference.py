import itertools
import random
from collections.abc import Iterable

import pytest

from components.base.errors import ConfigError
from components.sources.folder_inference import infer
from components.sources.folder_layout import FolderLayout
from components.sources.split_option import parse_splits

NONE = "unlabelled"


def folder(path: str) -> tuple[str, ...]:
    return tuple(path.split("/")) if path else ()


def layout_of(
    paths: Iterable[str], splits: str = "", label_depth: int | None = None
) -> FolderLayout:
    return infer(map(folder, paths), roots=parse_splits(splits), label_depth=label_depth)


def places(
    paths: Iterable[str], splits: str = "", label_depth: int | None = None
) -> dict[str, tuple[str | None, str]]:
    """The split and the class of each folder."""
    paths = list(paths)
    layout = layout_of(paths, splits, label_depth)
    return {path: tuple(layout.place(folder(path))) for path in paths}


# For each layout: the folders with images, and the split and the class of each.
CLEAR = {
    "flat": {"": ("train", NONE)},
    "classes": {"cat": ("train", "cat"), "dog": ("train", "dog")},
    "classes_and_loose_images": {"cat": ("train", "cat"), "": ("train", NONE)},
    "splits": {"train": ("train", NONE), "val": ("validation", NONE), "test": ("test", NONE)},
    "only_test": {"test/cat": ("test", "cat"), "test/dog": ("test", "dog"), "test": ("test", NONE)},
    "splits_and_classes": {
        "train/cat": ("train", "cat"),
        "train/dog": ("train", "dog"),
        "test/cat": ("test", "cat"),
    },
    "one_level_down": {
        "x/train/cat": ("train", "cat"),
        "x/train/dog": ("train", "dog"),
        "x/val/cat": ("validation", "cat"),
        "x/test/dog": ("test", "dog"),
    },
    "three_levels_down": {
        "x/y/z/train/cat": ("train", "cat"),
        "x/y/z/test/dog": ("test", "dog"),
    },
    "sets": {
        "training_set/cats": ("train", "cats"),
        "training_set/dogs": ("train", "dogs"),
        "test_set/cats": ("test", "cats"),
    },
    "repeated": {
        "training_set/training_set/cats": ("train", "cats"),
        "training_set/training_set/dogs": ("train", "dogs"),
        "test_set/test_set/cats": ("test", "cats"),
    },
    "intel": {
        "seg_train/seg_train/sea": ("train", "sea"),
        "seg_train/seg_train/street": ("train", "street"),
        "seg_test/seg_test/sea": ("test", "sea"),
    },
    "dogs_vs_cats": {"train/train": ("train", NONE), "test1/test1": ("test", NONE)},
    "coco": {"train2017": ("train", NONE), "val2017": ("validation", NONE)},
    "train_images": {"train_images": ("train", NONE), "test_images": ("test", NONE)},
    "cyclegan_of_one_kind": {"trainA": ("train", NONE), "testA": ("test", NONE)},
    "yolo": {
        "images/train": ("train", NONE),
        "images/val": ("validation", NONE),
        "images/test": ("test", NONE),
    },
    "roboflow": {
        "train/images": ("train", NONE),
        "valid/images": ("validation", NONE),
        "test/images": ("test", NONE),
    },
    "gtsrb": {
        "GTSRB/Final_Training/Images/00000": ("train", "00000"),
        "GTSRB/Final_Training/Images/00001": ("train", "00001"),
        "GTSRB/Final_Test/Images": ("test", NONE),
    },
    "short_names": {
        "tr/cat": ("train", "cat"),
        "tr/dog": ("train", "dog"),
        "va/cat": ("validation", "cat"),
        "te/dog": ("test", "dog"),
    },
    "a_short_name_among_others": {"te": ("train", "te"), "de": ("train", "de")},
    "full_width": {"ｔｒａｉｎ/cat": ("train", "cat"), "Ｔｅｓｔ/cat": ("test", "cat")},
    "one_word": {"catstrain": ("train", NONE), "catstest": ("test", NONE)},
    "one_word_in_front": {"traincats": ("train", NONE), "valcats": ("validation", NONE)},
    "ordinary_words": {"latest": ("train", "latest"), "contest": ("train", "contest")},
    "images_and_loose_images": {"images": ("train", NONE), "": ("train", NONE)},
    "nnunet": {"imagesTr": ("train", NONE), "imagesTs": ("test", NONE)},
    "div2k": {"DIV2K_train_HR": ("train", NONE), "DIV2K_valid_HR": ("validation", NONE)},
    "tiny_imagenet": {
        "train/n01/images": ("train", "n01"),
        "train/n02/images": ("train", "n02"),
        "val/images": ("validation", NONE),
        "test/images": ("test", NONE),
    },
    "classes_above_images": {"cat/images": ("train", "cat"), "dog/images": ("train", "dog")},
    "classes_below_images": {"images/cat": ("train", "cat"), "images/dog": ("train", "dog")},
    "one_folder": {"photos": ("train", NONE)},
    "one_class": {"photos/cat": ("train", "cat")},
    "one_class_and_splits": {"x/train/cat": ("train", "cat"), "x/test/cat": ("test", "cat")},
    "classes_below_two_folders": {"x/y/cat": ("train", "cat"), "x/y/dog": ("train", "dog")},
    "one_color": {
        "shoes/red": ("train", "shoes/red"),
        "bags/red": ("train", "bags/red"),
    },
    "a_level_without_which_paths_would_merge": {
        "cat/images": ("train", "cat/images"),
        "images": ("train", "images"),
        "": ("train", NONE),
    },
    "same_names": {
        "shoes/red": ("train", "shoes/red"),
        "bags/red": ("train", "bags/red"),
        "bags/blue": ("train", "bags/blue"),
    },
    "same_names_in_splits": {
        "train/shoes/red": ("train", "shoes/red"),
        "train/bags/red": ("train", "bags/red"),
        "test/bags/red": ("test", "bags/red"),
    },
    "a_class_at_two_depths": {
        "train/animals/dog": ("train", "animals/dog"),
        "train/dog": ("train", "dog"),
    },
    "uneven_depths": {
        "b": ("train", "b"),
        "a/deep/er": ("train", "er"),
        "a": ("train", "a"),
    },
    "splits_below_classes": {
        "cat/train": ("train", "cat"),
        "cat/test": ("test", "cat"),
        "dog/train": ("train", "dog"),
    },
    "splits_between_levels": {
        "bottle/train/good": ("train", "bottle/good"),
        "bottle/test/good": ("test", "bottle/good"),
        "bottle/test/crack": ("test", "bottle/crack"),
        "cable/train/good": ("train", "cable/good"),
    },
    "a_class_of_trains_in_splits": {
        "train/bus": ("train", "bus"),
        "train/train": ("train", "train"),
        "test/bus": ("test", "bus"),
        "test/train": ("test", "train"),
    },
    "train_stations": {"train_station": ("train", "train_station"), "bus": ("train", "bus")},
    "named_after_its_splits": {
        "train_test_split/train/cat": ("train", "cat"),
        "train_test_split/test/dog": ("test", "dog"),
    },
    "masks_are_a_class": {"mask": ("train", "mask"), "no_mask": ("train", "no_mask")},
    "control_characters": {"a\nb": ("train", "a%0Ab"), "c": ("train", "c")},
}


@pytest.mark.parametrize("name", CLEAR)
def test_a_clear_layout_is_understood(name):
    assert places(CLEAR[name]) == CLEAR[name]


# For each layout: the folders with images, parts of the message, and values of --splits and
# --label_depth that settle it, with the split and the class of each folder then.
UNCLEAR = {
    "masks_beside_splits": (
        ["train/good", "test/good", "test/crack", "ground_truth/crack"],
        ["test, train seem to be splits", "in ground_truth;"],
        ("train=train,test=test", None),
        [("train", "good"), ("test", "good"), ("test", "crack"), (None, None)],
    ),
    "masks_below_classes": (
        ["bottle/train/good", "bottle/test/crack", "bottle/ground_truth/crack"],
        ["bottle/test, bottle/train seem", "in bottle/ground_truth;"],
        ("train=bottle/train,test=bottle/test", None),
        [("train", "good"), ("test", "crack"), (None, None)],
    ),
    "a_class_of_trains": (
        ["bus", "car", "train"],
        ["train seems to be a split", "outside, in bus, car;", "--splits train=. if all"],
        ("train=.", None),
        [("train", "bus"), ("train", "car"), ("train", "train")],
    ),
    "loose_images_beside_splits": (
        ["", "train", "test"],
        ["outside, in .;", "--splits train=train,test=test"],
        ("train=train,test=test", None),
        [(None, None), ("train", NONE), ("test", NONE)],
    ),
    "other_folders_beside_splits": (
        ["x/train/cat", "x/test/cat", "y/cat"],
        ["x/test, x/train seem to be splits", "in y/cat;"],
        ("train=x/train,test=x/test", None),
        [("train", "cat"), ("test", "cat"), (None, None)],
    ),
    "holdout": (
        ["train/cat", "train/dog", "holdout/cat"],
        ["holdout may be a split or a class", "--splits train=train "],
        ("train=train,test=holdout", None),
        [("train", "cat"), ("train", "dog"), ("test", "cat")],
    ),
    "only_a_part_held_out": (
        ["images/cat", "images/dog", "held-out/cat"],
        ["held-out may be a split or a class"],
        ("train=images,test=held-out", None),
        [("train", "cat"), ("train", "dog"), ("test", "cat")],
    ),
    "trainval": (
        ["trainval", "test"],
        ["trainval may be a split"],
        ("train=trainval,test=test", None),
        [("train", NONE), ("test", NONE)],
    ),
    "evaluation": (
        ["images_background/Greek/alpha", "images_evaluation/Latin/a"],
        ["images_evaluation may be a split"],
        ("train=images_background,test=images_evaluation", 1),
        [("train", "Greek"), ("test", "Latin")],
    ),
    "cyclegan": (
        ["trainA", "trainB", "testA", "testB"],
        ["testA (test), testB (test), trainA (train), trainB (train)"],
        ("train=trainA,test=testA", None),
        [("train", NONE), (None, None), ("test", NONE), (None, None)],
    ),
    "two_kinds": (
        ["trainA", "testB"],
        ["testB (test), trainA (train) may be splits or parts of different kinds"],
        ("train=trainA,test=testB", None),
        [("train", NONE), ("test", NONE)],
    ),
    "two_trains": (
        ["train", "Training", "test"],
        ["Training (train), test (test), train (train)"],
        ("train=train,train=Training,test=test", None),
        [("train", NONE), ("train", NONE), ("test", NONE)],
    ),
    "a_test_among_classes": (
        ["cat", "dog", "cat_test"],
        ["cat_test may be a split or a class; folders with images: cat, cat_test, dog"],
        ("train=.,test=cat_test", None),
        [("train", "cat"), ("train", "dog"), ("test", NONE)],
    ),
    "a_test_in_one_word_among_classes": (
        ["cats", "dogs", "catstest"],
        ["catstest may be a split or a class; folders with images: cats, catstest, dogs"],
        ("train=.,test=catstest", None),
        [("train", "cats"), ("train", "dogs"), ("test", NONE)],
    ),
    "languages": (
        ["de", "te", "tr"],
        ["te, tr seem to be splits", "in de;", "--splits train=. if all"],
        ("train=.", None),
        [("train", "de"), ("train", "te"), ("train", "tr")],
    ),
    "a_tube": (
        ["beaker", "test_tube"],
        ["test_tube may be a split or a class", "--splits train=. if all"],
        ("train=.", None),
        [("train", "beaker"), ("train", "test_tube")],
    ),
    "inputs_and_outputs": (
        ["input", "output"],
        ["output beside input seems", "--splits train=input;", "classes, use --splits train=."],
        ("train=.", None),
        [("train", "input"), ("train", "output")],
    ),
    "a_test_deep_below": (
        ["cat/old/test", "dog"],
        ["cat/old/test seems to be a split", "in dog"],
        ("train=.", 1),
        [("train", "cat"), ("train", "dog")],
    ),
    "a_test_in_train": (
        ["train/cat", "train/test"],
        ["train seems to be train, and train/test test;"],
        ("train=train", None),
        [("train", "cat"), ("train", "test")],
    ),
    "splits_in_splits": (
        ["train/train/cat", "train/test/cat", "test/test/cat"],
        ["train seems to be train, and train/test test;"],
        ("train=train/train,validation=train/test,test=test", None),
        [("train", "cat"), ("validation", "cat"), ("test", "test/cat")],
    ),
    "crossed_splits": (
        ["train/train", "train/test", "test/train", "test/test"],
        ["seems to be"],
        ("train=train/train,test=test/test", None),
        [("train", NONE), (None, None), (None, None), ("test", NONE)],
    ),
    "folds": (
        ["fold1/train", "fold1/test", "fold2/train", "fold2/test"],
        ["fold1/test, fold1/train, fold2/test, fold2/train seem to be folds of the same images"],
        ("train=fold1/train,test=fold1/test", None),
        [("train", NONE), ("test", NONE), (None, None), (None, None)],
    ),
    "splits_in_different_folders": (
        ["a/train/cat", "b/test/cat"],
        ["the splits a/train, b/test are in different folders"],
        ("train=a/train,test=b/test", None),
        [("train", "cat"), ("test", "cat")],
    ),
    "segmentation": (
        ["images/train", "images/val", "masks/train", "masks/val"],
        ["masks beside images seems to hold masks", "--splits train=images"],
        ("train=images/train,validation=images/val", None),
        [("train", NONE), ("validation", NONE), (None, None), (None, None)],
    ),
    "segmentation_below_splits": (
        ["train/image", "train/label", "test/image", "test/label"],
        ["test/label beside test/image", "--label_depth N"],
        ("", 1),
        [("train", "image"), ("train", "label"), ("test", "image"), ("test", "label")],
    ),
    "annotations": (
        ["train", "trainannot", "test", "testannot"],
        ["testannot (test)", "--splits train=train,test=test (others are left out)"],
        ("train=train,test=test", None),
        [("train", NONE), (None, None), ("test", NONE), (None, None)],
    ),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_an_unclear_layout_is_an_error_that_an_option_settles(name):
    paths, messages, (splits, label_depth), expected = UNCLEAR[name]
    with pytest.raises(ConfigError) as caught:
        layout_of(paths)
    message = str(caught.value)
    assert "\n" not in message
    assert "--splits" in message
    for part in messages:
        assert part in message
    settled = places(paths, splits, label_depth)
    for path, (split, class_name) in zip(paths, expected, strict=True):
        assert settled[path][0] == split
        assert split is None or settled[path][1] == class_name


@pytest.mark.parametrize(
    ("label_depth", "expected"),
    [
        (None, ["shoes/red", "shoes/blue", "bags/red", NONE]),
        (0, [NONE] * 4),
        (1, ["shoes", "shoes", "bags", NONE]),
        (2, ["red", "blue", "red", NONE]),
    ],
)
@pytest.mark.parametrize("prefix", ["", "train/", "x/train/"])
def test_label_depth_is_the_level_below_the_split(prefix, label_depth, expected):
    paths = [(prefix + name).strip("/") for name in ("shoes/red", "shoes/blue", "bags/red", "")]
    assert [name for _, name in places(paths, "", label_depth).values()] == expected


def test_label_depth_counts_all_other_levels_if_the_splits_have_different_parents():
    paths = ["bottle/train/good", "bottle/test/good", "cable/train/good"]
    assert [name for _, name in places(paths, "", 1).values()] == ["bottle", "bottle", "cable"]
    assert [name for _, name in places(paths, "", 2).values()] == ["good"] * 3


def test_label_depth_is_at_most_the_depth_of_the_images():
    with pytest.raises(ConfigError, match=r"--label_depth 3: .* at most 1 folders below .* 0 to 1"):
        layout_of(["train/cat", "test/dog"], "", 3)


def test_the_innermost_of_nested_split_folders_counts():
    paths = ["cat", "dog", "dog/late/new", "dog/late"]
    expected = ["train", "train", "test", "test"]
    assert [split for split, _ in places(paths, "train=.,test=dog/late").values()] == expected


def test_a_split_folder_without_images_is_an_error():
    with pytest.raises(ConfigError, match="no images in tset for test; folders with images: test"):
        layout_of(["train", "test"], "train=train,test=tset")


def test_long_lists_and_names_are_cut():
    with pytest.raises(ConfigError) as caught:
        layout_of(["train", *(f"{number:03d}{'x' * 200}" for number in range(100))])
    assert "… (100 folders)" in str(caught.value)
    assert len(str(caught.value)) < 800


def test_without_images_everything_is_one_split_without_classes():
    assert infer([]) == infer([], label_depth=1) == FolderLayout()
    assert FolderLayout().place(()) == ("train", NONE)


SPLIT_NAMES = [
    {"train": "train", "validation": "val", "test": "test"},
    {"train": "Train", "validation": "Valid", "test": "Test"},
    {"train": "training_set", "validation": "validation_set", "test": "test_set"},
    {"train": "train2017", "validation": "val2017", "test": "test2017"},
    {"train": "pets_train", "validation": "pets_val", "test": "pets_test"},
    {"train": "tr", "validation": "va", "test": "te"},
    {"train": "petstrain", "validation": "petsval", "test": "petstest"},
    {"train": "ｔｒａｉｎ", "validation": "ｖａｌ", "test": "ｔｅｓｔ"},
    {"train": "TrainImages", "validation": "DevImages", "test": "TestImages"},
]
CLASS_NAMES = ["cat", "dog", "cow", "n0123", "7", "é", "red car", "Z", "trains", "latest"]


def plant(rng: random.Random) -> tuple[dict[str, tuple[str, str]], str | None]:
    """A tree with planted splits and classes.

    Returns:
      The split and class of each folder with images, and a folder outside the splits, if any.
    """
    names = rng.choice(SPLIT_NAMES)
    splits = rng.choice(
        [["train"], ["train", "test"], ["train", "validation"], ["train", "validation", "test"]]
    )
    if len(splits) == 1 and names["train"] in ("pets_train", "petstrain", "tr"):
        names = SPLIT_NAMES[0]
    classes = rng.sample(CLASS_NAMES, rng.randint(2, 5))
    wrapper = rng.choice(["", "", "data/", "my/photos/"])
    inner = rng.choice(["", "", "/images"])
    split_first = len(splits) == 1 or rng.random() < 0.7
    nested = rng.random() < 0.3  # two levels of classes with names that repeat
    colors = ["red", "blue"] if nested else [""]
    tree = {}
    for split, class_name, color in itertools.product(splits, classes, colors):
        below = f"{class_name}/{color}".strip("/")
        if split_first:
            path = f"{wrapper}{names[split]}/{below}{inner}"
        else:
            path = f"{wrapper}{below}/{names[split]}{inner}"
        tree[path] = (split, below)
    outside = None
    if rng.random() < 0.3:
        outside = rng.choice(["ground_truth/cat", "extra", "", "masks", "data2/x/y"])
    return tree, outside


def test_planted_splits_and_classes_are_found_in_a_thousand_trees():
    rng = random.Random(11)
    refused = 0
    for _ in range(1000):
        tree, outside = plant(rng)
        assert places(tree) == tree
        if outside is not None:
            refused += 1
            with pytest.raises(ConfigError, match="--splits"):
                layout_of([*tree, outside])
    assert 200 < refused < 400


def test_no_folder_with_a_name_of_a_test_is_ever_in_train():
    rng = random.Random(12)
    words = ["train", "test", "val", "trainA", "testB", "test_set", "holdout", "my_test", "eval"]
    words += ["ｔｅｓｔ", "cat", "dog", "images", "masks", "x", "train_station", "Test", "trainval"]
    held_out = {
        "ｔｅｓｔ",
        "test",
        "val",
        "testB",
        "test_set",
        "holdout",
        "my_test",
        "eval",
        "Test",
    }
    understood = 0
    for _ in range(5000):
        names = rng.sample(words, rng.randint(2, 6))
        paths = {
            "/".join(rng.choices(names, k=rng.randint(0, 3))) for _ in range(rng.randint(1, 6))
        }
        try:
            placed = places(paths)
        except ConfigError:
            continue
        understood += 1
        for path, (split, _) in placed.items():
            assert split is not None
            assert split != "train" or not held_out & set(folder(path)), paths
    assert understood > 300


def test_splits_below_a_folder_that_is_named_as_one_split_are_an_error():
    paths = ["images/train", "images/test", "masks/train", "masks/test"]
    advice = "--splits train=images/train,test=images/test"
    with pytest.raises(ConfigError, match=advice):
        layout_of(paths)
    with pytest.raises(ConfigError, match=f"the folders in it seem to be splits; use {advice}"):
        layout_of(paths, "train=images")
    layout = layout_of(paths, "train=images/train,test=images/test")
    assert [layout.place(folder(path)).split for path in paths[:2]] == ["train", "test"]
    assert layout_of(paths, "train=images", label_depth=1)


@pytest.mark.parametrize("name", ["images", "raw_data"])
def test_a_generic_level_that_only_some_classes_have_is_no_class(name):
    paths = [f"train/cat/{name}", f"train/dog/{name}", "val/cat", "val/dog"]
    layout = layout_of(paths)
    assert [layout.place(folder(path)) for path in paths] == [
        ("train", "cat"),
        ("train", "dog"),
        ("validation", "cat"),
        ("validation", "dog"),
    ]

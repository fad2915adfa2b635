import pytest

from components.sources.split_names import is_fold, is_generic, read_siblings, read_split


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("train", "train"), ("Training", "train"), ("TRAIN", "train"), ("train2017", "train")),
        *(("training_set", "train"), ("trainset", "train"), ("TrainImages", "train")),
        *(("train-images", "train"), ("images train", "train"), ("trainA", "train")),
        *(("xtrain", "train"), ("imagesTr", "train"), ("train_data_full", "train")),
        *(("val", "validation"), ("dev", "validation"), ("val2017", "validation")),
        *(("valid", "validation"), ("validation_set", "validation"), ("valset", "validation")),
        *(("test", "test"), ("tests", "test"), ("test1", "test"), ("testB", "test")),
        *(("test_images", "test"), ("Final_Test", "test"), ("imagesTs", "test")),
        *(("ｔｅｓｔ", "test"), ("ｖａｌ＿２０１７", "validation"), ("Ｔｒａｉｎ", "train")),
        *(("t10k", "test"), ("testdata", "test"), ("Testing", "test")),
    ],
)
def test_a_plain_name_says_its_split(name, split):
    reading = read_split(name)
    assert reading is not None
    assert (reading.split, reading.is_plain) == (split, True)


@pytest.mark.parametrize(
    ("name", "split", "rest"),
    [
        ("flowers_test", "test", ("flowers",)),
        ("bounding_box_train", "train", ("bounding", "box")),
        ("DIV2K_valid_HR", "validation", ("div", "2", "k", "hr")),
        ("train_station", "train", ("station",)),
        ("TestTube", "test", ("tube",)),
        ("测试_test", "test", ("测试",)),
    ],
)
def test_other_words_say_what_is_in_the_folder(name, split, rest):
    assert read_split(name) == (split, rest, False)


@pytest.mark.parametrize(
    "name",
    [
        *("holdout", "hold_out", "held-out", "HeldOut", "eval", "evaluation_images", "trainval"),
        *("train_test_split", "testdev", "minitest_val", "train-val", "TrainTest"),
    ],
)
def test_a_name_of_several_or_unclear_splits_has_none(name):
    reading = read_split(name)
    assert reading is not None
    assert reading.split is None


@pytest.mark.parametrize(
    "name",
    [
        *("cat", "trainers", "trains", "contest", "latest", "testament", "valley", "value", ""),
        *("strain", "device", "images", "1", "日本", "%", "restraint", "trainannot"),
    ],
)
def test_other_names_say_no_split(name):
    assert read_split(name) is None


@pytest.mark.parametrize(
    ("names", "certain", "uncertain"),
    [
        (["tr", "te", "ts", "va"], {"tr", "te", "ts", "va"}, set()),
        (["images_tr", "images_te"], {"images_tr", "images_te"}, set()),
        (["tr", "test"], {"tr", "test"}, set()),
        (["te", "de"], set(), set()),
        (["te", "ts"], set(), set()),
        (["catstrain", "catstest", "dogstest"], {"catstrain", "catstest"}, set()),
        (["cats_train", "catstest"], {"cats_train", "catstest"}, set()),
        (["traincats", "testcats"], {"traincats", "testcats"}, set()),
        (["cats", "catstest"], set(), {"catstest"}),
        (["Cats", "testcats"], set(), {"testcats"}),
        (["cats", "catstrain"], set(), set()),
        (["images", "images_te"], set(), {"images_te"}),
        (["latest", "contest", "strain", "valley"], set(), set()),
        (["flowers_train", "flowers_test"], {"flowers_train", "flowers_test"}, set()),
        (["train_station", "test_tube", "eval"], set(), {"test_tube", "eval"}),
    ],
)
def test_names_beside_each_other_say_how_certain_they_are(names, certain, uncertain):
    marks = read_siblings(names)
    assert {name for name, mark in marks.items() if mark.is_certain} == certain
    assert {name for name, mark in marks.items() if not mark.is_certain} == uncertain


@pytest.mark.parametrize(
    ("name", "expected"),
    [("fold1", True), ("Fold_10", True), ("split 2", True), ("folder1", False), ("fold", False)],
)
def test_a_fold_has_a_number(name, expected):
    assert is_fold(name) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("images", True), ("JPEGImages", True), ("raw_data", True), ("All Photos", True)),
        *(("cat", False), ("red", False), ("cat_images", False), ("1", False), ("%", False)),
    ],
)
def test_a_generic_name_says_nothing_about_the_images(name, expected):
    assert is_generic(name) is expected

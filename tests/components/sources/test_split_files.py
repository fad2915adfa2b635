import pytest

from components.sources.split_files import find_held_out


@pytest.mark.parametrize(
    "names",
    [
        *(["test_040.png"], ["a/img-val-3.jpg"], ["TEST1.JPG"], ["0001_test"], ["eval_1.png"]),
        *(["validation.7.png"], ["holdout1.png"], ["test"], ["ｔｅｓｔ_1.png"], ["test.1.png"]),
    ],
)
def test_a_name_without_other_words_says_that_a_file_is_held_out(names):
    assert find_held_out([*names, "train_000.png", "cat_1.png"]) == names


@pytest.mark.parametrize(
    ("held_out", "partner"),
    [
        ("cats_test_1.png", "cats_train_2.png"),
        ("testA_1.png", "trainA_1.png"),
        ("te_1.png", "tr_1.png"),
        ("catstest1.png", "catstrain1.png"),
        ("x/Kilmer_Val.png", "y/Kilmer_Train.png"),
    ],
)
def test_a_name_with_other_words_does_so_beside_the_same_words_for_another_split(held_out, partner):
    assert find_held_out([held_out, "cat.png"]) == []
    assert find_held_out([held_out, partner]) == [held_out]


@pytest.mark.parametrize(
    "names",
    [
        *(["Val_Kilmer_1.png"], ["test_tube_1.png", "beaker_1.png"], ["latest.png", "contest.png"]),
        *(["train_1.png", "training_2.png"], ["te_1.png", "de_1.png"], ["286VAL56G1p.jpg"]),
        *(["test/cat.png"], ["value.png"], [".png", ""], []),
    ],
)
def test_other_names_say_nothing(names):
    assert find_held_out(names) == []

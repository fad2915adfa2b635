import pytest

from components.sources.array_names import Kind, parse_array_name


@pytest.mark.parametrize(
    ("name", "kind", "split", "text"),
    [
        ("x_train", Kind.IMAGES, "train", ""),
        ("X_test", Kind.IMAGES, "test", ""),
        ("Xtrain", Kind.IMAGES, "train", ""),
        ("testImages", Kind.IMAGES, "test", ""),
        ("val/images", Kind.IMAGES, "validation", ""),
        ("images", Kind.IMAGES, None, ""),
        ("kmnist-train-imgs", Kind.IMAGES, "train", "kmnist"),
        ("k49_imgs", Kind.IMAGES, None, "k49"),
        ("extra_images", Kind.IMAGES, None, "extra"),
        ("labels", Kind.LABELS, None, ""),
        ("target_test", Kind.LABELS, "test", ""),
        ("kmnist-train-labels", Kind.LABELS, "train", "kmnist"),
        ("y_train_fine", Kind.LABELS, "train", "fine"),
        ("coarse_labels", Kind.LABELS, None, "coarse"),
        ("classes", Kind.LABELS, None, "classes"),
        ("class_names", Kind.LABELS, None, "class-names"),
        ("split", Kind.COLUMN, None, ""),
        ("image_split", Kind.COLUMN, None, ""),
        ("train_test_split", Kind.COLUMN, None, ""),
        ("kmnist-split", Kind.COLUMN, None, "kmnist"),
        ("fold", Kind.COLUMN, None, ""),
        ("train_idx", Kind.ROWS, "train", ""),
        ("idx_test", Kind.ROWS, "test", ""),
        ("is_train", Kind.ROWS, "train", ""),
        ("val_mask", Kind.ROWS, "validation", ""),
        ("test", Kind.ROWS, "test", ""),
        ("test_split", Kind.ROWS, "test", ""),
        ("test_names", Kind.OTHER, "test", "names"),
        ("holdout_idx", Kind.OTHER, None, ""),
        ("trainval", Kind.OTHER, None, ""),
        ("eval_images", Kind.OTHER, None, ""),
    ],
)
def test_the_name_of_an_array_says_what_it_holds(name, kind, split, text):
    parsed = parse_array_name(name)
    assert parsed is not None
    assert (parsed.kind, parsed.split, parsed.text) == (kind, split, text)


@pytest.mark.parametrize("name", ["x_mean", "image_sizes", "metadata", "arr_0", "galaxies", ""])
def test_other_names_say_nothing(name):
    assert parse_array_name(name) is None


def test_words_of_one_scheme_belong_together():
    schemes = [
        parse_array_name(name).scheme for name in ("x", "y", "data", "target", "imgs", "labels")
    ]
    assert schemes == ["xy", "xy", "data", "data", "images", "images"]


def test_the_role_is_described():
    assert parse_array_name("x_test").role == "test images"
    assert parse_array_name("labels").role == "train labels"

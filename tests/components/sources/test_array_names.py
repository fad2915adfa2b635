import pytest

from components.sources.array_names import ArrayKind, parse_array_name


@pytest.mark.parametrize(
    ("name", "kind", "split", "text"),
    [
        ("x_train", ArrayKind.IMAGES, "train", ""),
        ("X_test", ArrayKind.IMAGES, "test", ""),
        ("Xtrain", ArrayKind.IMAGES, "train", ""),
        ("testImages", ArrayKind.IMAGES, "test", ""),
        ("val/images", ArrayKind.IMAGES, "validation", ""),
        ("images", ArrayKind.IMAGES, None, ""),
        ("kmnist-train-imgs", ArrayKind.IMAGES, "train", "kmnist"),
        ("k49_imgs", ArrayKind.IMAGES, None, "k49"),
        ("extra_images", ArrayKind.IMAGES, None, "extra"),
        ("labels", ArrayKind.LABELS, None, ""),
        ("target_test", ArrayKind.LABELS, "test", ""),
        ("kmnist-train-labels", ArrayKind.LABELS, "train", "kmnist"),
        ("y_train_fine", ArrayKind.LABELS, "train", "fine"),
        ("coarse_labels", ArrayKind.LABELS, None, "coarse"),
        ("classes", ArrayKind.LABELS, None, "classes"),
        ("class_names", ArrayKind.LABELS, None, "class-names"),
        ("split", ArrayKind.COLUMN, None, ""),
        ("image_split", ArrayKind.COLUMN, None, ""),
        ("train_test_split", ArrayKind.COLUMN, None, ""),
        ("kmnist-split", ArrayKind.COLUMN, None, "kmnist"),
        ("fold", ArrayKind.COLUMN, None, ""),
        ("train_idx", ArrayKind.ROWS, "train", ""),
        ("idx_test", ArrayKind.ROWS, "test", ""),
        ("is_train", ArrayKind.ROWS, "train", ""),
        ("val_mask", ArrayKind.ROWS, "validation", ""),
        ("test", ArrayKind.ROWS, "test", ""),
        ("test_split", ArrayKind.ROWS, "test", ""),
        ("test_names", ArrayKind.OTHER, "test", "names"),
        ("holdout_idx", ArrayKind.OTHER, None, ""),
        ("trainval", ArrayKind.OTHER, None, ""),
        ("eval_images", ArrayKind.OTHER, None, ""),
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

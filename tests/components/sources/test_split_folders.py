import pytest

from components.base.errors import ConfigError
from components.sources.folder_layout import FolderLayout
from components.sources.split_folders import find_splits


def layout_of(*paths: str) -> FolderLayout:
    return find_splits(sorted(tuple(path.split("/")) for path in paths))


def test_without_a_name_of_a_split_there_are_none():
    assert layout_of("cat", "dog") == FolderLayout()


@pytest.mark.parametrize(
    ("paths", "names", "levels", "below"),
    [
        (["train/a", "test/a"], {"train": "train", "test": "test"}, (0,), True),
        (["x/train/a", "x/val/a"], {"train": "train", "val": "validation"}, (1,), True),
        (["a/train", "a/test", "b/train"], {"train": "train", "test": "test"}, (1,), False),
        (["tr/train", "te/test"], {"te": "test", "tr": "train"}, (0, 1), True),
    ],
)
def test_the_level_of_the_splits_is_found(paths, names, levels, below):
    layout = layout_of(*paths)
    assert dict(layout.split_names) == names
    assert (layout.split_levels, layout.below_split) == (levels, below)


def test_the_option_names_a_folder_for_each_split():
    with pytest.raises(ConfigError, match="--splits train=trainA,test=testA "):
        layout_of("trainA", "trainB", "testA", "testB")
    with pytest.raises(ConfigError, match="--splits train=x/train,test=x/test "):
        layout_of("x/train", "x/test", "y")


def test_names_are_escaped_in_messages():
    with pytest.raises(ConfigError, match="in a%1B") as caught:
        layout_of("train", "a\x1b[31m")
    assert "\x1b" not in str(caught.value)

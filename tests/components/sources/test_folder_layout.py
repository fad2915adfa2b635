import pickle

import pytest

from components.sources.folder_inference import infer
from components.sources.folder_layout import FolderLayout, Place, without_general_ending


def layout_of(*paths: str) -> FolderLayout:
    return infer(tuple(path.split("/")) for path in paths)


def test_a_layout_does_not_grow_with_the_number_of_folders():
    layouts = [layout_of(*(f"x/train/{n}/images" for n in range(count))) for count in (2, 2000)]
    assert layouts[0] == layouts[1]
    assert len(pickle.dumps(layouts[1])) < 500


def test_a_folder_outside_the_splits_has_none():
    layout = layout_of("train/cat", "test/cat")
    assert layout.place(("masks", "cat")).split is None
    assert layout.place(("val", "cat")) == Place("validation", "cat")  # It holds no image yet.
    roots = FolderLayout(roots=((("a",), "train"), (("a", "b"), "test")))
    assert roots.locate(("a", "c")) == ("train", ("c",))
    assert roots.locate(("a", "b", "c")) == ("test", ("c",))
    assert roots.locate(("b",)) == (None, ("b",))


def test_only_a_path_that_begins_with_the_common_levels_loses_them():
    layout = layout_of("x/shoes/red", "x/bags/red")
    assert layout.common == ("x",)
    assert layout.place(("x", "shoes", "red")).class_name == "shoes/red"
    assert layout.place(("y", "shoes", "red")).class_name == "y/shoes/red"


@pytest.mark.parametrize(
    ("layout", "folders"),
    [
        (layout_of("cat", "dog"), {}),
        (layout_of("train/cat", "val2017/cat"), {"train": ["train"], "validation": ["val2017"]}),
        (
            FolderLayout(roots=(((), "train"), (("a", "b"), "test"), (("c",), "test"))),
            {"train": ["."], "test": ["a/b", "c"]},
        ),
    ],
)
def test_it_names_the_folders_of_the_splits(layout, folders):
    assert layout.split_folders() == folders
    assert layout.has_splits == bool(folders)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a/images/raw", "a"), ("images/a", "images/a"), ("raw/images", ""), ("a/x/raw", "a/x")],
)
def test_general_names_are_left_out_at_the_end(path, expected):
    levels = without_general_ending(tuple(path.split("/")), {"images", "raw"})
    assert "/".join(levels) == expected

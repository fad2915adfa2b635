from components.sources.folder_inference import infer
from components.sources.folder_layout import FolderLayout
from components.sources.folder_outline import Ignored, describe


def outline(folders: dict[str, list[str]], class_names: list[str], **ignored) -> list[str]:
    layout = infer(
        tuple(name.split("/")) if name else () for names in folders.values() for name in names
    )
    return describe(folders, layout, class_names=class_names, ignored=Ignored(**ignored))


def test_it_lists_splits_and_classes_with_their_numbers_of_files():
    folders = {"train": ["train/dog"] * 1200 + ["train/cat"], "test": ["test/dog"]}
    assert outline(folders, ["cat", "dog"]) == [
        "  train: 1,201 files in 2 classes: cat 1, dog 1,200",
        "  test: 1 file in 1 class: dog 1",
    ]


def test_it_names_the_folders_of_the_splits_if_they_have_other_names():
    lines = outline({"train": ["Training set"], "test": ["test"]}, ["unlabelled"])
    assert [line.partition(":")[0] for line in lines] == ["  train (Training set)", "  test"]
    roots = ((("a",), "train"), (("b", "c"), "train"))
    layout = FolderLayout(roots=roots)
    [line] = describe({"train": ["a"]}, layout, class_names=["unlabelled"], ignored=Ignored())
    assert line == "  train (a, b/c): 1 file in 1 class: unlabelled 1"


def test_it_says_what_is_ignored():
    fields = {"leftovers": ["Thumbs.db", "a/Thumbs.db", "Icon\r"], "hidden": [".git"]}
    fields["repeated"] = ["b/\x1b[31m"]
    *_, last = outline({"train": [""]}, ["unlabelled"], outside=1, **fields)
    assert last == (
        "  ignored: 3 files that systems leave behind (Icon%0D, Thumbs.db), 1 hidden, "
        "1 link to folders that are read under another name (b/%1B[31m), "
        "1 file outside the folders of --splits"
    )


def test_it_says_when_classes_are_paths_and_when_files_have_no_class():
    folders = {"train": ["shoes/red", "bags/red"]}
    lines = outline(folders, ["bags/red", "shoes/red"])
    assert "classes are paths" in lines[1]
    assert "--label_depth N" in lines[1]
    lines = outline({"train": ["a", "b"]}, ["a"])
    assert lines[-1] == "  1 file in folders without images: to the quarantine"


def test_long_lists_and_names_are_cut():
    names = [f"{number:04d}{'x' * 300}" for number in range(1000)]
    lines = outline({"train": names}, names, leftovers=[f"{n}/a{n}" for n in range(99)])
    assert len(lines) == 2
    assert all(len(line) < 400 for line in lines)
    assert lines[0].endswith("… 994 more")
    assert lines[1].endswith(", …)")

import pytest

from components.sources.folder_names import is_leftover, listed, path_of, split_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("@eaDir/1.png", True), ("a/@eaDir/1.png/thumb.jpg", True), ("a/Thumbs.db", True)),
        *(("THUMBS.DB", True), ("Icon\r", True), ("desktop.ini", True), ("__MACOSX/a/1", True)),
        *(("Icon/1.png", False), ("thumbs/1.png", False), ("a/1.png", False)),
    ],
)
def test_leftovers_of_systems_are_known_by_name(name, expected):
    assert is_leftover(name) is expected


def test_paths_are_divided_into_the_names_of_folders():
    assert split_path("a/b c") == ("a", "b c")
    assert split_path("") == ()


def test_paths_in_messages_are_short_and_on_one_line():
    assert path_of(()) == "."
    assert path_of(("a\n", "\x1b[31mb")) == "a%0A/%1B[31mb"
    assert path_of(("x" * 100,)) == "x" * 59 + "…"


def test_long_lists_are_cut():
    assert listed([("b",), ("a", "c")]) == "a/c, b"
    numbers = [(str(number),) for number in range(9)]
    assert listed(numbers) == "0, 1, 2, 3, 4, 5, … (9 folders)"
    assert listed(numbers, kind="files").endswith("(9 files)")

import contextlib
import os
import random
import socket
from pathlib import Path

import pytest
from etils import epath

from components.base import file_listing
from components.base.errors import WorkError


@pytest.fixture
def strange(tmp_path) -> epath.Path:
    """A directory with hidden and nested files, which are not created in the order of names."""
    root = tmp_path / "strange"
    for name in ("z", "b/c/two", "b/one", "b-", "A", ".hidden", ".git/config", "b/.DS_Store"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "empty").mkdir()
    return epath.Path(root)


def names(directory: epath.Path) -> list[str]:
    return [file.name for file in file_listing.list_files(directory).files]


def test_list_files_returns_all_files_except_hidden_ones_sorted(strange):
    assert names(strange) == ["A", "b-", "b/c/two", "b/one", "z"]
    os.utime(strange / "z", ns=(0, 1_500_000_000_250_000_000))
    assert file_listing.list_files(strange).files[-1] == file_listing.ListedFile(
        "z", 1, 1_500_000_000.25, True
    )
    assert file_listing.list_files(strange / "empty") == file_listing.Listing()
    hidden = sorted(file_listing.list_files(strange).hidden)
    assert hidden == [".DS_Store", ".git", ".hidden"]
    assert sorted(file_listing._list_remote(strange).hidden) == hidden


def test_list_files_follows_links_and_lists_each_directory_once(strange):
    os.symlink(strange, strange / "b/c/up")
    os.symlink(".", strange / "b/c/here")
    os.symlink("b", strange / "a")
    os.symlink("z", strange / "y")
    outside = strange.parent / "outside"
    (outside / "d").mkdir(parents=True)
    (outside / "d/three").touch()
    os.symlink(outside, strange / "x2")
    os.symlink(outside, strange / "x1")
    os.symlink(outside / "d", strange / "x0")
    os.symlink(strange, outside / "up")
    listing = file_listing.list_files(strange)
    assert [file.name for file in listing.files] == [
        *("A", "b-", "b/c/two", "b/one", "x0/three", "y", "z"),
    ]
    assert listing.repeated == ["a", "b/c/here", "b/c/up", "x1/d", "x1/up", "x2"]
    assert listing.files[-2].size == 1


def test_list_files_ends_where_directories_link_to_one_another(tmp_path):
    directories = [tmp_path / str(number) for number in range(9)]
    for directory in directories:
        directory.mkdir()
        (directory / "file").touch()
        for other in directories:
            os.symlink(other, directory / f"to{other.name}")
    listing = file_listing.list_files(epath.Path(tmp_path))
    assert [file.name for file in listing.files] == [f"{number}/file" for number in range(9)]
    assert len(listing.repeated) == 81


@pytest.mark.parametrize("seed", range(30))
def test_list_files_lists_each_file_of_a_random_tree_once(tmp_path, seed):
    rng = random.Random(seed)
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    directories = [root, elsewhere]
    for directory in directories:
        directory.mkdir()
    for number in range(rng.randint(1, 15)):
        directories.append(rng.choice(directories) / f"d{number}")
        directories[-1].mkdir()
    for number in range(rng.randint(1, 40)):
        place = rng.choice(directories)
        if rng.random() < 0.4:
            (place / f"f{number}").touch()
        elif rng.random() < 0.1:
            os.mkfifo(place / f"f{number}")
        elif rng.random() < 0.1:
            os.symlink(rng.choice(["/dev/null", "/proc/kmsg", "nowhere"]), place / f"f{number}")
        else:
            os.symlink(rng.choice(directories), place / f"l{number}")
    # Independently: the directories that can be reached, by their real paths.
    reached, pending = set(), [root]
    while pending:
        directory = pending.pop().resolve()
        if directory not in reached:
            reached.add(directory)
            pending += [path for path in directory.iterdir() if path.is_dir()]
    expected = {path for place in reached for path in place.iterdir() if not path.is_dir()}
    listing = file_listing.list_files(epath.Path(root))
    found = [(root / file.name).parent.resolve() / Path(file.name).name for file in listing.files]
    assert len(found) == len(set(found))
    assert set(found) == expected
    # What has a path without links keeps it.
    own = {path for path in expected if path.is_relative_to(root)}
    assert own <= {root / file.name for file in listing.files}


def test_list_files_marks_what_is_not_a_regular_file(strange):
    os.mkfifo(strange / "pipe")
    os.symlink("nowhere", strange / "gone")
    os.symlink("self", strange / "self")
    os.symlink("/dev/null", strange / "null")
    with socket.socket(socket.AF_UNIX) as listener:
        # The path of a socket must be short, so bind it by its relative name.
        with contextlib.chdir(strange):
            listener.bind("socket")
        others = [file for file in file_listing.list_files(strange).files if not file.is_regular]
    assert [file.name for file in others] == ["gone", "null", "pipe", "self", "socket"]
    assert {(file.size, file.modified) for file in others} == {(0, 0.0)}


def test_list_files_marks_files_of_the_kernel(tmp_path):
    os.symlink("/proc/kmsg", tmp_path / "kmsg")
    assert [
        f.name for f in file_listing.list_files(epath.Path(tmp_path)).files if not f.is_regular
    ] == ["kmsg"]


def test_list_files_returns_names_that_are_not_utf8(strange):
    for name in (b"\xff.png", b"a\nb", "é".encode()):
        with open(os.path.join(os.fsencode(strange), name), "wb"):
            pass
    assert set(names(strange)) >= {"\udcff.png", "a\nb", "é"}


@pytest.mark.parametrize("wrong", ["absent", "z"])
def test_list_files_refuses_what_is_not_a_directory(strange, wrong):
    with pytest.raises(WorkError, match=f"cannot list '{strange}/{wrong}"):
        file_listing.list_files(strange / wrong)


def test_list_files_names_the_directory_that_cannot_be_listed(strange):
    # The path exceeds the length that the system accepts, which fails even for the superuser.
    name = "deep\n" * 50
    with contextlib.chdir(strange):
        for _ in range(20):
            os.mkdir(name)
            os.chdir(name)
    with pytest.raises(WorkError, match=r"deep.*name too long; make it readable") as caught:
        file_listing.list_files(strange)
    assert "\n" not in str(caught.value)


def test_remote_and_local_listings_agree(strange, monkeypatch):
    """Reads local files through TensorFlow's file system, which epath uses for gs:// paths."""
    from etils.epath import backend, gpath

    for name in ("A", "b-", "b/c/two", "b/one", "z"):
        os.utime(strange / name, (0, 1_500_000_000))
    local = file_listing.list_files(strange).files
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, None, backend.tf_backend)
    remote = file_listing._list_remote(strange).files
    assert sorted(remote, key=lambda file: file.name) == local
    with pytest.raises(WorkError, match=r"cannot list '.*/absent': .*not find directory"):
        file_listing._list_remote(strange / "absent")

import contextlib
import hashlib
import os
import socket

import pytest
from etils import epath

from components.base import files
from components.base.errors import WorkError


@pytest.fixture
def folder(tmp_path) -> epath.Path:
    (tmp_path / "b/c").mkdir(parents=True)
    for name in ("b/c/deep", "b/near", "a"):
        (tmp_path / name).write_text(name)
    return epath.Path(tmp_path)


def test_all_files_below_in_order(folder):
    names = [path.relative_to(folder).as_posix() for path in files.files_below(folder)]
    assert names == ["a", "b/c/deep", "b/near"]


def test_a_digest_is_that_of_the_bytes(folder):
    expected = hashlib.sha256(b"a").hexdigest()
    assert files.sha256(folder / "a") == files.sha256(folder / "a", sync=True) == expected


def test_a_folder_is_held_by_one_at_a_time(folder):
    with files.locked(folder / "new"):
        assert (folder / "new").is_dir()
        with pytest.raises(WorkError, match="another process"), files.locked(folder / "new"):
            pass
    with files.locked(folder / "new"):
        pass


def test_a_folder_that_was_renamed_while_it_was_opened_is_not_held(folder, monkeypatch):
    def rename_first(descriptor, operation):
        (folder / "new").rename(folder / "published")

    monkeypatch.setattr(files.fcntl, "flock", rename_first)
    with pytest.raises(WorkError, match="another process"), files.locked(folder / "new"):
        pass


def test_paths_are_told_relative_to_a_folder_but_for_other_schemes(folder):
    assert files.relative(folder / "b/near", folder / "b/c") == "../near"
    assert files.relative(epath.Path("gs://bucket/x"), folder) == "gs://bucket/x"


@pytest.fixture
def strange(tmp_path) -> epath.Path:
    """Files of every kind, made in another order than that of their names."""
    root = tmp_path / "strange"
    for name in ("z", "b/c/two", "b/one", "b-", "A", ".hidden", ".git/config", "b/.DS_Store"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "empty").mkdir()
    return epath.Path(root)


def names(directory: epath.Path) -> list[str]:
    return [file.name for file in files.listing(directory)]


def test_a_listing_is_every_file_but_the_hidden_by_name(strange):
    assert names(strange) == ["A", "b-", "b/c/two", "b/one", "z"]
    os.utime(strange / "z", ns=(0, 1_500_000_000_250_000_000))
    assert files.listing(strange)[-1] == files.ListedFile("z", 1, 1_500_000_000.25, True)
    assert files.listing(strange / "empty") == []


def test_a_listing_follows_links_but_not_in_circles(strange):
    os.symlink(strange, strange / "b/c/up")
    os.symlink(".", strange / "b/c/here")
    os.symlink("b", strange / "x")
    os.symlink("z", strange / "y")
    assert names(strange) == ["A", "b-", "b/c/two", "b/one", "x/c/two", "x/one", "y", "z"]
    assert files.listing(strange)[-2].size == 1


def test_a_listing_tells_what_is_no_file(strange):
    os.mkfifo(strange / "pipe")
    os.symlink("nowhere", strange / "gone")
    os.symlink("self", strange / "self")
    os.symlink("/dev/null", strange / "null")
    with socket.socket(socket.AF_UNIX) as listener:
        # By a relative name, since that of a socket must be short.
        with contextlib.chdir(strange):
            listener.bind("socket")
        others = [file for file in files.listing(strange) if not file.is_regular]
    assert [file.name for file in others] == ["gone", "null", "pipe", "self", "socket"]
    assert {(file.size, file.modified) for file in others} == {(0, 0.0)}


def test_a_listing_gives_names_that_are_no_text(strange):
    for name in (b"\xff.png", b"a\nb", "é".encode()):
        with open(os.path.join(os.fsencode(strange), name), "wb"):
            pass
    assert set(names(strange)) >= {"\udcff.png", "a\nb", "é"}


@pytest.mark.parametrize("wrong", ["absent", "z"])
def test_what_is_no_folder_cannot_be_listed(strange, wrong):
    with pytest.raises(WorkError, match=f"cannot list '{strange}/{wrong}"):
        files.listing(strange / wrong)


def test_a_folder_that_cannot_be_listed_is_named_in_one_line(strange):
    # Its path gets longer than the system takes, which stops even the super-user.
    name = "deep\n" * 50
    with contextlib.chdir(strange):
        for _ in range(20):
            os.mkdir(name)
            os.chdir(name)
    with pytest.raises(WorkError, match=r"deep.*name too long; make it readable") as caught:
        files.listing(strange)
    assert "\n" not in str(caught.value)


def test_a_remote_listing_is_the_same(strange, monkeypatch):
    """Through TensorFlow's file system, as epath reads gs:// and s3://; here it reads the disk."""
    from etils.epath import backend, gpath

    for name in ("A", "b-", "b/c/two", "b/one", "z"):
        os.utime(strange / name, (0, 1_500_000_000))
    local = files.listing(strange)
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, None, backend.tf_backend)
    assert sorted(files._list_remote(strange), key=lambda file: file.name) == local
    with pytest.raises(WorkError, match=r"cannot list '.*/absent': .*not find directory"):
        list(files._list_remote(strange / "absent"))

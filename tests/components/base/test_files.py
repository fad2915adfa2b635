import contextlib
import hashlib
import io
import os
import pathlib
import random
import socket
from collections.abc import Callable
from pathlib import Path

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


def test_walk_files_returns_all_files_sorted(folder):
    names = [path.relative_to(folder).as_posix() for path in files.walk_files(folder)]
    assert names == ["a", "b/c/deep", "b/near"]


def test_the_leaves_of_a_directory_are_files_links_and_empty_directories(folder):
    (folder / "b/empty").mkdir()
    os.symlink(folder / "b", folder / "b/c/link")
    os.symlink("absent", folder / "gone")
    names = {path.relative_to(folder).as_posix() for path in files.leaves(folder)}
    assert names == {"a", "b/c/deep", "b/c/link", "b/near", "b/empty", "gone"}
    assert files.leaves(folder / "b/empty") == set()


def test_directories_without_files_are_removed(folder):
    for name in ("b/empty", "x/y/z", "b/c/none"):
        (folder / name).mkdir(parents=True)
    os.symlink("b/c", folder / "link")
    files.remove_empty_directories(folder)
    root = pathlib.Path(folder)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
    assert names == ["a", "b", "b/c", "b/c/deep", "b/near", "link"]


def test_a_digest_is_computed_in_the_background():
    data = os.urandom(3 << 20)
    with files.BackgroundDigest() as digest:
        for start in range(0, len(data), 1 << 20):
            digest.update(memoryview(data)[start : start + (1 << 20)])
        assert digest.hexdigest() == hashlib.sha256(data).hexdigest()
    with files.BackgroundDigest() as digest:
        assert digest.hexdigest() == hashlib.sha256().hexdigest()


def test_the_identity_of_a_file_changes_with_its_content_and_its_place(folder):
    def identity():
        with files.open_regular(folder / "a") as file:
            return files.identity(folder / "a", file)

    first = identity()
    assert identity() == first
    os.utime(folder / "a", ns=(0, 1))
    touched = identity()
    (folder / "a").rename(folder / "old")
    (folder / "a").write_text("a")
    os.utime(folder / "a", ns=(0, 1))
    assert len({first, touched, identity()}) == 3


def test_sha256_is_the_digest_of_the_content(folder):
    expected = hashlib.sha256(b"a").hexdigest()
    assert files.sha256(folder / "a") == files.sha256(folder / "a", sync=True) == expected


def test_a_directory_has_one_lock(folder):
    with files.directory_lock(folder / "new"):
        assert (folder / "new").is_dir()
        with (
            pytest.raises(WorkError, match="another process"),
            files.directory_lock(folder / "new"),
        ):
            pass
    with files.directory_lock(folder / "new"):
        pass


def test_a_directory_that_is_renamed_before_it_is_locked_is_refused(folder, monkeypatch):
    def rename_first(descriptor, operation):
        (folder / "new").rename(folder / "published")

    monkeypatch.setattr(files.fcntl, "flock", rename_first)
    with pytest.raises(WorkError, match="another process"), files.directory_lock(folder / "new"):
        pass


def test_relative_path_keeps_remote_paths(folder):
    assert files.relative_path(folder / "b/near", folder / "b/c") == "../near"
    assert files.relative_path(epath.Path("gs://bucket/x"), folder) == "gs://bucket/x"


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
    return [file.name for file in files.list_files(directory).files]


def test_list_files_returns_all_files_except_hidden_ones_sorted(strange):
    assert names(strange) == ["A", "b-", "b/c/two", "b/one", "z"]
    os.utime(strange / "z", ns=(0, 1_500_000_000_250_000_000))
    assert files.list_files(strange).files[-1] == files.ListedFile("z", 1, 1_500_000_000.25, True)
    assert files.list_files(strange / "empty") == files.Listing()
    hidden = sorted(files.list_files(strange).hidden)
    assert hidden == [".DS_Store", ".git", ".hidden"]
    assert sorted(files._list_remote(strange).hidden) == hidden


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
    listing = files.list_files(strange)
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
    listing = files.list_files(epath.Path(tmp_path))
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
    listing = files.list_files(epath.Path(root))
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
        others = [file for file in files.list_files(strange).files if not file.is_regular]
    assert [file.name for file in others] == ["gone", "null", "pipe", "self", "socket"]
    assert {(file.size, file.modified) for file in others} == {(0, 0.0)}


@pytest.fixture
def irregular(tmp_path, monkeypatch) -> Callable[[str], epath.Path]:
    """Returns a function that makes something that is not a regular file, of a given kind."""
    monkeypatch.chdir(tmp_path)  # The path of a socket must be short.

    def make(kind: str) -> epath.Path:
        path = epath.Path(tmp_path / "made")
        if kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind("made")
        elif kind == "a directory":
            path.mkdir()
        else:
            os.symlink({"a device": "/dev/zero", "a file of the kernel": "/proc/kmsg"}[kind], path)
        return path

    return make


IRREGULAR = ["a pipe", "a socket", "a directory", "a device", "a file of the kernel"]


@pytest.mark.parametrize("read", [files.open_regular, files.sha256, files.check_regular])
@pytest.mark.parametrize("kind", IRREGULAR)
def test_what_is_not_a_regular_file_is_never_opened(irregular, monkeypatch, kind, read):
    path = irregular(kind)
    files.check_regular(epath.Path(__file__))  # The mounts are read before `open` is replaced.
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(WorkError, match=f"made is {kind}, not a regular file") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_regular_files_and_links_to_them_are_opened(folder):
    os.symlink("a", folder / "link")
    for name in ("a", "link"):
        with files.open_regular(folder / name) as file:
            assert file.read() == b"a"
    with pytest.raises(FileNotFoundError):
        files.open_regular(folder / "absent")


def test_list_files_marks_files_of_the_kernel(folder):
    os.symlink("/proc/kmsg", folder / "kmsg")
    assert [f.name for f in files.list_files(folder).files if not f.is_regular] == ["kmsg"]


def test_list_files_returns_names_that_are_not_utf8(strange):
    for name in (b"\xff.png", b"a\nb", "é".encode()):
        with open(os.path.join(os.fsencode(strange), name), "wb"):
            pass
    assert set(names(strange)) >= {"\udcff.png", "a\nb", "é"}


@pytest.mark.parametrize("wrong", ["absent", "z"])
def test_list_files_refuses_what_is_not_a_directory(strange, wrong):
    with pytest.raises(WorkError, match=f"cannot list '{strange}/{wrong}"):
        files.list_files(strange / wrong)


def test_list_files_names_the_directory_that_cannot_be_listed(strange):
    # The path exceeds the length that the system accepts, which fails even for the superuser.
    name = "deep\n" * 50
    with contextlib.chdir(strange):
        for _ in range(20):
            os.mkdir(name)
            os.chdir(name)
    with pytest.raises(WorkError, match=r"deep.*name too long; make it readable") as caught:
        files.list_files(strange)
    assert "\n" not in str(caught.value)


def test_remote_and_local_listings_agree(strange, monkeypatch):
    """Reads local files through TensorFlow's file system, which epath uses for gs:// paths."""
    from etils.epath import backend, gpath

    for name in ("A", "b-", "b/c/two", "b/one", "z"):
        os.utime(strange / name, (0, 1_500_000_000))
    local = files.list_files(strange).files
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, None, backend.tf_backend)
    remote = files._list_remote(strange).files
    assert sorted(remote, key=lambda file: file.name) == local
    with pytest.raises(WorkError, match=r"cannot list '.*/absent': .*not find directory"):
        files._list_remote(strange / "absent")


def test_stat_gives_size_and_modification_time(folder):
    os.utime(folder / "a", ns=(0, 1_500_000_000_250_000_000))
    assert files.stat(folder / "a") == files.FileStat(size=1, modified=1_500_000_000.25)
    with pytest.raises(FileNotFoundError):
        files.stat(folder / "absent")


def test_write_durably_replaces_the_content(folder):
    files.write_durably(folder / "a", "é\n")
    files.write_durably(folder / "a", "ü\n")
    assert (folder / "a").read_bytes() == "ü\n".encode()


def test_only_directories_without_entries_are_empty(folder):
    (folder / "empty").mkdir()
    paths = [folder, folder / "a", folder / "absent", folder / "empty"]
    assert [files.is_empty(path) for path in paths] == [False, False, False, True]


def test_paths_with_a_scheme_are_remote(folder):
    assert files.is_remote(epath.Path("gs://bucket/x"))
    assert not files.is_remote(folder)


@pytest.mark.parametrize(
    ("directory", "path", "expected"),
    [
        ("a", "a", True),
        ("a", "a/b/c", True),
        ("a", "ab", False),
        ("a/b", "a", False),
        ("a", "a/../b", False),
        ("link", "a/b", True),
        (".", "a", True),
        ("/", "a", True),
        ("gs://bucket/a", "gs://bucket/a/b", True),
        ("gs://bucket/a/", "gs://bucket/a", True),
        ("gs://bucket/a", "gs://bucket/ab", False),
        ("gs://bucket", "a", False),
    ],
)
def test_a_directory_contains_itself_and_what_is_below_it(
    tmp_path, monkeypatch, directory, path, expected
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    assert files.contains(epath.Path(directory), epath.Path(path)) == expected


@pytest.fixture
def bracketed(tmp_path):
    """A directory whose name is a pattern for `glob`, with three files."""
    directory = epath.Path(tmp_path) / "run[1]*"
    directory.mkdir()
    for name in ("a-1.x", "a-[2].x", ".a-3.x"):
        (directory / name).touch()
    return directory


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a-*.x", ["a-1.x", "a-[2].x"]),
        ("a-?.x", ["a-1.x"]),
        ("a-[2].*", ["a-[2].x"]),
        ("a-[12].x", []),
        ("*.y", []),
    ],
)
def test_only_the_pattern_of_the_name_has_wildcards(bracketed, pattern, names):
    assert [path.name for path in files.list_matching(bracketed, pattern)] == names
    assert [path.name for path in files.expand_pattern(f"{bracketed}/{pattern}")] == names


@pytest.mark.parametrize("is_remote", [False, True])
def test_names_match_as_their_paths_do(is_remote, tmp_path, monkeypatch):
    for name in ("b.json", "a.json", "a.json.tmp", "[a].json"):
        (tmp_path / name).touch()
    monkeypatch.setattr(files, "is_remote", lambda _: is_remote)
    names = files.names_matching(epath.Path(tmp_path), "*.json")
    assert names == ["[a].json", "a.json", "b.json"]
    assert files.names_matching(epath.Path(tmp_path), "[a]*") == ["[a].json"]


def test_a_directory_that_does_not_exist_has_no_entries(tmp_path):
    assert files.list_matching(epath.Path(tmp_path / "none"), "*") == []
    assert files.expand_pattern(f"{tmp_path}/none*/*") == []
    assert files.expand_pattern(f"{tmp_path}/none") == []


def test_directories_may_have_wildcards(bracketed, monkeypatch):
    other = bracketed.parent / "run2"
    other.mkdir()
    (other / "a-1.x").touch()
    monkeypatch.chdir(bracketed.parent)
    assert sorted(map(str, files.expand_pattern("r?n*/a-1.x"))) == ["run2/a-1.x", "run[1]*/a-1.x"]
    assert list(map(str, files.expand_pattern("./run2/*"))) == ["run2/a-1.x"]


def test_a_flushed_file_is_on_disk_before_it_is_closed(tmp_path):
    path = epath.Path(tmp_path) / "file"
    with path.open("wb") as file:
        file.write(b"12345")
        files.flush(path, file)
        assert path.read_bytes() == b"12345"
    # Remote files have no descriptor.
    files.flush(epath.Path("s3://bucket/file"), io.BytesIO())

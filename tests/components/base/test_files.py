import hashlib
import io
import os
import pathlib
import socket
from collections.abc import Callable

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


def test_remote_directories_are_walked_like_local_ones(folder, object_store):
    remote = epath.Path("s3://bucket/folder")
    for path in files.walk_files(folder):
        (remote / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())
    (remote / "z").write_bytes(b"z")
    (folder / "z").write_bytes(b"z")
    for walk in (files.walk_files, files.leaves, files.entries):
        local, found = (
            sorted(path.relative_to(root).as_posix() for path in walk(root))
            for root in (folder, remote)
        )
        assert found == local
    assert files.is_empty(folder) == files.is_empty(remote) == False  # noqa: E712
    for walk in (files.walk_files, files.leaves, files.entries):
        assert not walk(remote / "absent")


def test_many_files_are_removed_at_once(tmp_path, object_store):
    for root in (epath.Path(tmp_path), epath.Path("s3://bucket")):
        paths = [root / str(number) for number in range(100)]
        for path in paths[:-1]:
            path.write_text("x")
        (root / "kept").write_text("x")
        files.remove_all(paths)
        assert files.entries(root) == [root / "kept"]


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

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from etils import epath

from components.base import file_listing
from components.ingest.decode import MAX_ENCODED_BYTES
from components.ingest.rejection import Reason, UnusableError
from components.sources import image_files
from components.sources.image_files import load_local, load_remote, read_ahead

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def write(root: Path, names: Iterable[str]) -> None:
    """Writes files that begin like a PNG."""
    for name in names:
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_bytes(PNG)


@pytest.fixture
def broken(tmp_path) -> Path:
    """A folder with an image and with what cannot be read."""
    write(tmp_path, ["a/good.png"])
    os.mkfifo(tmp_path / "a/pipe.png")
    os.symlink("/dev/zero", tmp_path / "a/zero.png")
    os.symlink("/proc/kmsg", tmp_path / "a/kernel.png")
    os.symlink("nowhere", tmp_path / "a/dangling.png")
    os.symlink(tmp_path, tmp_path / "a/up")
    (tmp_path / "a/empty.png").touch()
    with open(tmp_path / "a/huge.png", "wb") as file:
        file.truncate(MAX_ENCODED_BYTES + 1)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("pipe.png", Reason.WRONG_TYPE, "not a regular file"),
        ("zero.png", Reason.WRONG_TYPE, "not a regular file"),
        ("dangling.png", Reason.WRONG_TYPE, "not a regular file"),
        ("up", Reason.WRONG_TYPE, "not a regular file"),
        ("vanished.png", Reason.UNREADABLE, "No such file or directory"),
        ("huge.png", Reason.TOO_LARGE, "134217729 bytes; the limit is 134217728"),
    ],
)
def test_a_local_file_that_cannot_be_read_is_reported(broken, name, reason, detail):
    with pytest.raises(UnusableError) as caught:
        load_local(f"{broken}/a/{name}")
    assert (caught.value.reason, str(caught.value)) == (reason, detail)


def test_a_file_without_a_size_is_not_opened(broken, monkeypatch):
    assert load_local(f"{broken}/a/good.png") == PNG
    monkeypatch.setattr(os, "open", None)
    for name in ("kernel.png", "empty.png"):
        assert load_local(f"{broken}/a/{name}") == b""


def test_one_image_among_others_is_found(broken):
    listed = file_listing.list_files(epath.Path(broken)).files
    assert image_files.has_image(str(broken), listed, is_remote=False)
    others = [file for file in listed if "good" not in file.name]
    assert len(others) == 6
    assert not image_files.has_image(str(broken), others, is_remote=False)


def test_the_first_bytes_of_remote_files_are_read_alike(tmp_path, monkeypatch):
    """Reads local files through TensorFlow, as epath does for gs:// and s3://."""
    from etils.epath import backend, gpath

    write(tmp_path, ["a/1.png"])
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, None, backend.tf_backend)
    path = f"{tmp_path}/a/1.png"
    assert image_files._read_start_remote(path) == image_files._read_start_local(path) == PNG[:64]
    assert (
        image_files._read_start_remote(f"{path}2")
        == image_files._read_start_local(f"{path}2")
        == b""
    )


@pytest.mark.parametrize("name", ["vanished.png", "up"])
def test_a_remote_file_that_cannot_be_read_is_reported_in_one_line(broken, name, monkeypatch):
    """Reads local files through TensorFlow, as epath does for gs:// and s3://."""
    from etils.epath import backend, gpath

    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, None, backend.tf_backend)
    assert load_remote(f"{broken}/a/good.png") == PNG
    with pytest.raises(UnusableError, match=name) as caught:
        load_remote(f"{broken}/a/{name}")
    assert caught.value.reason == Reason.UNREADABLE
    assert "\n" not in str(caught.value)
    with pytest.raises(UnusableError, match="134217729 bytes; the limit is"):
        load_remote(f"{broken}/a/huge.png")


def test_reading_ahead_is_map_with_a_bounded_number_of_calls_ahead(broken):
    write(broken, [f"b/{number:03d}.png" for number in range(100)])
    paths = [f"{broken}/b/{number:03d}.png" for number in range(100)]
    assert list(read_ahead(load_local, paths)) == list(map(load_local, paths))
    assert list(read_ahead(load_local, [])) == []
    remaining = iter(paths)
    ahead = read_ahead(load_local, remaining)
    next(ahead)
    ahead.close()
    assert len(list(remaining)) >= 100 - 2 * image_files._READERS
    with pytest.raises(UnusableError, match="not a regular file"):
        list(read_ahead(load_local, [*paths, f"{broken}/a/pipe.png"]))

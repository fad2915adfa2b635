import os

import pytest
from etils import epath

from components.base.artifacts import atomic_write
from components.base.local_files import (
    copy,
    directory_written_locally,
    local_copy,
    written_locally,
)

PATH = "s3://bucket/model.keras"


def test_local_paths_stand_for_themselves(tmp_path):
    path = epath.Path(tmp_path / "file")
    with written_locally(path) as written:
        assert written == path
        written.write_text("x")
    with local_copy(path) as read:
        assert read == path
    assert path.read_text() == "x"


def test_a_remote_file_appears_when_the_local_one_is_complete(object_store):
    with written_locally(PATH) as path:
        assert path.name == "model.keras"
        with open(path, "wb") as file:
            file.write(b"con")
            file.flush()
            file.write(b"tent")
        assert object_store.objects == {}
    assert object_store.objects == {"bucket/model.keras": b"content"}
    assert not path.exists()


@pytest.mark.parametrize("write", [written_locally, atomic_write])
def test_a_failed_body_leaves_what_was_there(object_store, write):
    object_store.objects["bucket/model.keras"] = b"old"
    with pytest.raises(RuntimeError), write(PATH) as path:
        path.write_text("a part of the new content")
        raise RuntimeError
    assert object_store.objects == {"bucket/model.keras": b"old"}
    assert object_store.changes == []
    assert not os.path.exists(path)


def test_an_object_is_written_atomically_by_one_request(object_store):
    with atomic_write(PATH) as path:
        path.write_text("new")
    assert object_store.changes == [("PUT", "bucket/model.keras")]


def test_a_directory_is_written_locally(object_store, tmp_path):
    with directory_written_locally(epath.Path(tmp_path)) as directory:
        assert directory == epath.Path(tmp_path)
    remote = epath.Path("s3://bucket/model")
    with pytest.raises(RuntimeError), directory_written_locally(remote) as directory:
        (directory / "part").write_text("a part")
        raise RuntimeError
    assert object_store.objects == {}
    with directory_written_locally(remote) as directory:
        (directory / "variables").mkdir()
        (directory / "variables/index").write_text("index")
        (directory / "graph").write_text("graph")
    assert object_store.below("s3://bucket/model") == {
        "graph": b"graph",
        "variables/index": b"index",
    }


def test_a_local_copy_is_removed_afterwards(object_store):
    object_store.objects["bucket/model.keras"] = b"content"
    with local_copy(PATH) as path:
        assert path.name == "model.keras"
        assert path.read_bytes() == b"content"
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"x", bytes(3 << 20)])
def test_files_are_copied_between_file_systems(object_store, tmp_path, content):
    local, back = epath.Path(tmp_path / "local"), epath.Path(tmp_path / "back")
    local.write_bytes(content)
    copy(local, epath.Path(PATH))
    copy(epath.Path(PATH), epath.Path("s3://bucket/other"))
    copy(epath.Path("s3://bucket/other"), back)
    assert back.read_bytes() == content

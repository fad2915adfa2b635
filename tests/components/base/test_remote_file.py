import io

import pytest
from etils import epath
from etils.epath import backend, gpath

from components.base.remote_file import open_for_reading

CONTENT = b"".join(b"line %d\n" % number for number in range(5000))


@pytest.fixture(params=["fsspec", "TensorFlow"])
def path(request, object_store, tmp_path, monkeypatch) -> epath.Path:
    """A file of a remote file system."""
    if request.param == "fsspec":
        object_store.objects["bucket/file"] = CONTENT
        return epath.Path("s3://bucket/file")
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, None, backend.tf_backend)
    (tmp_path / "file").write_bytes(CONTENT)
    return epath.Path(tmp_path / "file")


@pytest.mark.parametrize("buffering", [-1, 100, 1 << 20])
def test_a_remote_file_can_do_what_a_local_one_can(path, buffering):
    with open_for_reading(path, buffering=buffering) as file, io.BytesIO(CONTENT) as expected:
        for do in (
            lambda each: each.read(10),
            lambda each: each.readline(),
            lambda each: each.readline(3),
            lambda each: each.readlines(100),
            lambda each: each.tell(),
            lambda each: each.seek(1000),
            lambda each: each.read(20000),
            lambda each: each.seek(-10, io.SEEK_END),
            lambda each: each.read(),
            lambda each: each.read(1),
            lambda each: each.seek(5),
            lambda each: list(each),
        ):
            assert do(file) == do(expected)
    assert file.closed
    file.close()


def test_a_file_that_is_closed_cannot_be_read(path):
    file = open_for_reading(path)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_a_file_that_is_not_there_is_not_found(path):
    def read(missing: epath.Path) -> bytes:
        with open_for_reading(missing) as file:
            return file.read()

    with pytest.raises(FileNotFoundError):
        read(path.parent / "missing")

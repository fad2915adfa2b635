import errno

import pytest
import tensorflow as tf
from etils import epath
from etils.epath import backend, gpath

from components.base import file_errors
from components.base.errors import WorkError


def fail(error: Exception):
    raise error


def explain(function) -> str:
    """The message of the WorkError that explains the error raised by a function."""
    with pytest.raises(WorkError) as caught, file_errors.as_work_errors():
        function()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_local_errors_are_explained_in_one_line(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    assert explain(lambda: fail(full)).startswith("No space left on device: while writing; ")
    missing = tmp_path / "absent"
    assert explain(missing.read_text).startswith(f"No such file or directory: {missing}; ")


def test_remote_errors_are_explained_in_one_line(tmp_path, monkeypatch):
    """Reads local files through TensorFlow's file system, which epath uses for gs:// paths."""
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, None, backend.tf_backend)
    path = epath.Path(tmp_path)
    for function in (
        lambda: (path / "absent").read_text(),
        lambda: (path / "absent").rename(path / "other"),
        lambda: list((path / "absent").iterdir()),
    ):
        message = explain(function)
        assert "/absent" in message
        assert message.endswith("the network, and run the same command again")


def test_a_missing_file_system_names_the_package_to_install():
    assert explain(epath.Path("s3://bucket/x").read_text) == (
        "File system scheme 's3' not implemented (file: 's3://bucket/x'); "
        "install s3fs and set EPATH_USE_TF=false"
    )


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("no number"),
        ImportError("no module x"),
        tf.errors.InvalidArgumentError(None, None, "shapes differ"),
        ZeroDivisionError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, file_errors.as_work_errors():
        fail(error)
    assert caught.value is error


def test_error_types_include_those_of_tensorflow():
    assert set(file_errors.error_types()) == {OSError, tf.errors.OpError}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOENT, "No such file or directory", "x"), "No such file or directory"),
        (tf.errors.NotFoundError(None, None, "object x\n  not found"), "object x not found"),
    ],
    ids=["local", "remote"],
)
def test_the_reason_of_an_error_is_one_line(error, reason):
    assert file_errors.error_reason(error) == reason

"""Errors of local and remote file systems, explained to the user in one line."""

import contextlib
import re
import sys
import traceback
from collections.abc import Iterator

from components.base.errors import WorkError, one_line

# Modules that access remote file systems. TensorFlow raises the same error classes for other bugs
# too, so an error is attributed to a file only if one of these modules raised it.
_REMOTE_CODE = (
    "/tensorflow/python/lib/io/",
    "/etils/epath/",
    "/fsspec/",
    "/gcsfs/",
    "/s3fs/",
)
_NO_SCHEME = re.compile(r"File system scheme '(\w+)' not implemented")
_FSSPEC_PACKAGES = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs", "hf": "huggingface_hub"}


@contextlib.contextmanager
def as_work_errors() -> Iterator[None]:
    """Converts file errors into a WorkError of one line; other errors pass unchanged."""
    try:
        yield
    except _explained_types() as error:
        if (work_error := _explain(error)) is None:
            raise
        raise work_error from error


def error_types() -> tuple[type[Exception], ...]:
    """The exceptions that accessing a file may raise.

    They include TensorFlow's only if it has been imported: epath then uses it for remote paths.
    """
    tensorflow = sys.modules.get("tensorflow")
    return (OSError, tensorflow.errors.OpError) if tensorflow else (OSError,)


def _explained_types() -> tuple[type[Exception], ...]:
    # fsspec raises ImportError if the package of a remote file system is not installed.
    return (*error_types(), ImportError)


def error_reason(error: Exception) -> str:
    """The reason that the file system gives for a failure, in one line."""
    return getattr(error, "strerror", None) or one_line(error)


def _explain(error: Exception) -> WorkError | None:
    """The explanation of a file error; None for an error that is not about a file."""
    if isinstance(error, OSError) and (error.filename or error.errno) is not None:
        where = error.filename or "while writing"
        return WorkError(f"{error.strerror}: {where}; fix this and run the same command again")
    frames = traceback.extract_tb(error.__traceback__)
    # An exception that was sent by another process has no frames.
    if not frames or not any(place in frames[-1].filename for place in _REMOTE_CODE):
        return None
    message = one_line(getattr(error, "message", error))
    if scheme := _NO_SCHEME.search(message):
        package = _FSSPEC_PACKAGES.get(scheme[1], "the fsspec package for this scheme")
        return WorkError(f"{message}; install {package} and set EPATH_USE_TF=false")
    return WorkError(
        f"{message}; check the path, the permissions and the network, and run the same command "
        "again"
    )

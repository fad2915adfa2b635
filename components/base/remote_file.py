"""Remote files that are read like local ones."""

import io
import types
from typing import Any

from etils import epath


def open_for_reading(path: epath.Path, *, buffering: int = -1) -> io.BufferedReader:
    """Opens a remote file for reading, with all that Python's files can do.

    Args:
      path: the file.
      buffering: size of the buffer in bytes; the default of Python if it is not positive.

    Raises:
      OSError: the file cannot be opened. Some file systems say so only when it is read.
    """
    size = buffering if buffering > 0 else io.DEFAULT_BUFFER_SIZE
    return io.BufferedReader(_RawFile(path), size)


class _RawFile(io.RawIOBase):
    """A remote file without a buffer.

    The files of TensorFlow and of fsspec lack methods of Python's, such as lines of limited length;
    and TensorFlow's are not even open before a `with` statement.
    """

    def __init__(self, path: epath.Path):
        self._opened: Any = path.open("rb")
        self._file = self._opened.__enter__()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:
            # TensorFlow's finds out here that there is no file, and raises FileNotFoundError.
            self._exit(type(error), error, error.__traceback__)
            raise
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._exit(None, None, None)
        super().close()

    def _exit(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.__exit__(kind, error, traceback)

"""Arrays in files, read batch by batch.

The header of a file is not trusted: memory is bounded by the content of the file, not by the size
that its header claims.
"""

import contextlib
import dataclasses
import gzip
import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, NoReturn, cast

import numpy as np
from etils import epath

from components.base import files
from components.base.errors import ConfigError, WorkError
from components.base.file_errors import error_reason
from components.sources.regular_files import check_regular
from components.sources.source import BATCH_BYTES

TRUNCATED = "the data ends there"
_TRAILING_DATA = "it continues beyond the size that its header announces"
_CHUNK_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
# Flags of a zip member: encrypted (bits 0 and 6) or patch data (bit 5).
_UNREADABLE_FLAGS = 0x61
# The exceptions that Python's readers raise for damaged or unreadable files.
_READ_ERRORS = (
    OSError,
    EOFError,
    NotImplementedError,
    UnicodeDecodeError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def open_stream(path: epath.Path, member: str = "") -> Iterator[io.BufferedIOBase]:
    """Opens a file, plain or gzipped, or a member of a zip archive; yields its decompressed bytes.

    Args:
      path: the file or archive.
      member: name of the member; "" for a file that is not an archive.

    Raises:
      ConfigError: the file is a pipe or a device; or the member is encrypted, or compressed in a
        way that NumPy never uses.
      WorkError: the file cannot be read.
    """
    try:
        check_regular(path)
        with contextlib.ExitStack() as stack:
            # A file of the system without a size, such as /proc/kmsg, may block reads.
            opened = path.open("rb") if files.stat(path).size else io.BytesIO()
            file = cast(io.BufferedIOBase, stack.enter_context(opened))
            if member:
                archive = stack.enter_context(zipfile.ZipFile(cast(Any, file)))
                yield stack.enter_context(_open_member(path, archive, member))
                return
            # Not the name: browsers decompress files and leave the .gz in their names.
            is_gzipped = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            yield stack.enter_context(gzip.GzipFile(fileobj=file)) if is_gzipped else file
    except _READ_ERRORS as error:
        raise WorkError(f"{path} cannot be read: {error_reason(error)}; restore the file") from None


def _open_member(path: epath.Path, archive: zipfile.ZipFile, member: str) -> zipfile.ZipExtFile:
    info = archive.getinfo(member)
    is_known = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if info.flag_bits & _UNREADABLE_FLAGS or not is_known:
        raise ConfigError(
            f"{path}: {member} is encrypted, or compressed in a way that NumPy never uses; save it "
            "again with np.savez_compressed"
        )
    return cast(zipfile.ZipExtFile, archive.open(info))


def read_up_to(stream: io.BufferedIOBase, size: int) -> tuple[bytearray, str]:
    """Reads `size` bytes, or all bytes up to the end of the stream or the first damage.

    Memory is bounded by what the stream holds, not by `size`.

    Returns:
      The bytes, and why there are fewer than `size`: TRUNCATED, a description of the damage, or ""
      if none are missing.
    """
    data = bytearray()
    try:
        # `read` discards the bytes before the damage, `read1` returns them. Remote files have no
        # `read1`.
        read = getattr(stream, "read1", stream.read)
        while len(data) < size:
            chunk = read(min(size - len(data), _CHUNK_BYTES))
            if not chunk:
                return data, TRUNCATED
            data += chunk
    except _READ_ERRORS as error:
        return data, error_reason(error)
    return data, ""


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array of images or labels that a file holds row by row after a header.

    Attributes:
      name: name of the file and of the array in it, for messages.
      path: the file.
      member: name of the member, if the file is to be read as a zip archive; otherwise "".
      shape: [N, ...], from the header.
      dtype: type of an element.
      start: offset of the first element in the file or member, in bytes.
      seekable: whether reading can start at any row.
    """

    name: str
    path: epath.Path
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    seekable: bool

    @property
    def rows(self) -> int:
        """Number of images or labels."""
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Size of one image or label, in bytes."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def check_size(self, num_bytes: int) -> None:
        """Raises WorkError unless the file holds as many bytes of elements as its header claims.

        Args:
          num_bytes: size of the file or member without its header.
        """
        if num_bytes < self.rows * self.row_bytes:
            self._fail(num_bytes // max(1, self.row_bytes), TRUNCATED)
        if num_bytes > self.rows * self.row_bytes:
            self._fail(self.rows, _TRAILING_DATA)

    def batches(self, first: int, count: int, batch_rows: int) -> Iterator[np.ndarray]:
        """Yields `count` rows from row `first` on, in batches of shape [batch_rows or fewer, ...].

        An array that is not seekable can only be read as a whole: from row 0, with all its rows.

        Raises:
          WorkError: the file is damaged; the message names the row.
        """
        with open_stream(self.path, self.member) as stream:
            if self.seekable:
                stream.seek(self.start + first * self.row_bytes)
            else:
                read_up_to(stream, self.start)  # Seeking would disable the zip checksum.
            for row in range(first, first + count, batch_rows):
                rows = min(batch_rows, first + count - row)
                data, flaw = read_up_to(stream, rows * self.row_bytes)
                if flaw:
                    self._fail(row + len(data) // self.row_bytes, flaw)
                yield np.frombuffer(data, self.dtype).reshape(rows, *self.shape[1:])
            if not self.seekable:
                # Zip and gzip compare checksums at the end of the data, so read past it.
                extra, flaw = read_up_to(stream, 1)
                if extra or flaw != TRUNCATED:
                    self._fail(self.rows, flaw or _TRAILING_DATA)

    def read(self) -> np.ndarray:
        """The whole array, shape [N, ...]. The caller checks its size first."""
        whole = np.empty(self.shape, self.dtype)
        row = 0
        for rows in self.batches(0, self.rows, max(1, BATCH_BYTES // max(1, self.row_bytes))):
            whole[row : row + len(rows)] = rows
            row += len(rows)
        return whole

    def _fail(self, row: int, flaw: str) -> NoReturn:
        noun = "image" if len(self.shape) > 2 else "label"
        raise WorkError(
            f"{self.name} can be read up to {noun} {row} of {self.rows}: {flaw}; restore the file"
        )

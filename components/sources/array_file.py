"""Arrays stored in files, read block by block whatever their headers promise."""

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

from components.base.errors import ConfigError, WorkError
from components.base.files import why
from components.sources.source import BLOCK_BYTES

ENDS = "it ends there"
_GOES_ON = "it goes on, though its header names no more"
_CHUNK_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
# What Python's readers raise over damaged or unreadable files.
_DAMAGE = (
    OSError,
    EOFError,
    NotImplementedError,
    UnicodeDecodeError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def opened(path: epath.Path, member: str = "") -> Iterator[io.BufferedIOBase]:
    """The bytes of a file, plain or gzipped, or of a member of a zip archive.

    Raises:
      ConfigError: the member is encrypted or compressed as numpy never does.
      WorkError: the file cannot be opened.
    """
    try:
        with contextlib.ExitStack() as stack:
            file = cast(io.BufferedIOBase, stack.enter_context(path.open("rb")))
            if member:
                archive = stack.enter_context(zipfile.ZipFile(cast(Any, file)))
                yield stack.enter_context(_open_member(path, archive, member))
                return
            # Told by its content: browsers unpack files and leave them their .gz.
            gzipped = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            yield stack.enter_context(gzip.GzipFile(fileobj=file)) if gzipped else file
    except _DAMAGE as error:
        raise WorkError(f"{path} cannot be read: {why(error)}; restore it") from None


def _open_member(path: epath.Path, archive: zipfile.ZipFile, member: str) -> zipfile.ZipExtFile:
    info = archive.getinfo(member)
    encrypted_or_patched = info.flag_bits & 0x61
    if encrypted_or_patched or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ConfigError(
            f"{path}: {member} is encrypted or compressed as numpy never does; save it again with "
            "np.savez_compressed"
        )
    return cast(zipfile.ZipExtFile, archive.open(info))


def read_fully(stream: io.BufferedIOBase, size: int) -> tuple[bytearray, str]:
    """`size` bytes; or those there are and why there are no more, ENDS or the damage.

    Memory follows what the file holds: a header may ask for any size.
    """
    data = bytearray()
    try:
        # Where a file is damaged, read drops what it has by then. Remote files know no read1.
        read = getattr(stream, "read1", stream.read)
        while len(data) < size:
            chunk = read(min(size - len(data), _CHUNK_BYTES))
            if not chunk:
                return data, ENDS
            data += chunk
    except _DAMAGE as error:
        return data, why(error)
    return data, ""


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """Images or labels that lie row by row behind a header.

    Attributes:
      name: the file, and the array in it, for messages.
      path: the file.
      member: the name in it, where it is to be read as a zip archive.
      shape: [N, ...], as the header says.
      dtype: of one number.
      start: the byte, of the file or the member, with which the numbers begin.
      cuttable: whether reading can begin at any row.
    """

    name: str
    path: epath.Path
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    cuttable: bool

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def check_size(self, held: int) -> None:
        """Raises WorkError unless `held` bytes of numbers are what the header promises."""
        if held < self.rows * self.row_bytes:
            self._fail(held // max(1, self.row_bytes), ENDS)
        if held > self.rows * self.row_bytes:
            self._fail(self.rows, _GOES_ON)

    def blocks(self, first: int, count: int, at_a_time: int) -> Iterator[np.ndarray]:
        """The rows from `first` on, shape [at_a_time or fewer, ...].

        Raises:
          WorkError: the file is damaged; names the row.
        """
        with opened(self.path, self.member) as stream:
            if self.cuttable:
                stream.seek(self.start + first * self.row_bytes)
            else:
                read_fully(stream, self.start)  # To seek would switch zip's checksum off.
            for row in range(first, first + count, at_a_time):
                wanted = min(at_a_time, first + count - row)
                data, flaw = read_fully(stream, wanted * self.row_bytes)
                if flaw:
                    self._fail(row + len(data) // self.row_bytes, flaw)
                yield np.frombuffer(data, self.dtype).reshape(wanted, *self.shape[1:])
            if not self.cuttable:
                # Checksums are compared at the very end, so one byte more is asked for.
                extra, flaw = read_fully(stream, 1)
                if extra or flaw != ENDS:
                    self._fail(self.rows, flaw or _GOES_ON)

    def read(self) -> np.ndarray:
        """All of it, shape [N, ...]."""
        empty = np.zeros((0, *self.shape[1:]), self.dtype)
        return np.concatenate([empty, *self.blocks(0, self.rows, BLOCK_BYTES)])

    def _fail(self, row: int, flaw: str) -> NoReturn:
        noun = "image" if len(self.shape) > 2 else "label"
        raise WorkError(
            f"{self.name} can be read up to {noun} {row} of {self.rows}: {flaw}; restore the file"
        )

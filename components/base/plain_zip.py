"""Zip archives whose members are stored uncompressed, as NumPy and Keras write them.

A compressed member can be a thousand times larger than its file: 4 MB may unpack to 4 GB. A stored
member is not larger than the file, so reading it needs no other limit.
"""

import os
import struct
import zipfile
from typing import IO

# The exceptions of `zipfile` for damaged archives, besides ValueError.
_DAMAGE = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    struct.error,
)


class PlainZip:
    """The members of an archive, all checked before any is read.

    Args:
      file: a seekable file, which must stay open while members are read. The archive ends with it.

    Raises:
      ValueError: the archive is damaged; or a member is compressed or encrypted, has the name of
        another, or claims to be larger than the file.
    """

    def __init__(self, file: IO[bytes]):
        file.seek(0, os.SEEK_END)
        size = file.tell()  # The `seek` of a remote file returns None.
        try:
            self._archive = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise ValueError("it is not an intact zip archive") from error
        self.sizes: dict[str, int] = {}
        """The size of each member in bytes, by name."""
        for info in self._archive.infolist():
            name = info.filename
            if name in self.sizes:
                raise ValueError(f"it has two members named {name[:80]!r}")
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                raise ValueError(f"its member {name[:80]!r} is compressed or encrypted")
            if not (info.file_size == info.compress_size <= size and info.header_offset >= 0):
                raise ValueError(f"its member {name[:80]!r} claims to be larger than the file")
            self.sizes[name] = info.file_size

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
          ValueError: it is damaged.
        """
        try:
            return self._archive.read(name)
        except _DAMAGE as error:
            raise ValueError(f"its member {name[:80]!r} is damaged") from error

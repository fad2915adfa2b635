"""Reading a file of compressed images.

Everything in a file is checked before it is used: it may come from anyone.
"""

import dataclasses
import hashlib
import io
import lzma
import os
from typing import Any

from etils import epath

from components.base import files, json_types
from components.base.errors import ConfigError, WorkError
from components.base.manifest import fingerprint
from components.compression import archive_format
from components.compression.archive_format import MAGIC, VERSION, ArchiveHeader
from components.compression.blocks import CodedBlock

_DIGEST_BYTES = 32
_MAX_HEADER_BYTES = 64 << 20
# Limits on the decompressed index: 64 MiB, and a name of 4 KiB for each image.
_INDEX_BYTES, _NAME_BYTES = 64 << 20, 4 << 10
_READ_BYTES = 1 << 20


class Archive:
    """A file of compressed images, whose header is read and checked.

    Args:
      path: the file.

    Raises:
      ConfigError: there is no such file, it is something else, or it is of another version.
      WorkError: it is damaged.
    """

    def __init__(self, path: epath.PathLike):
        self.path = epath.Path(path)
        if not self.path.exists():
            raise ConfigError(f"there is no file {self.path}; give --input a compressed file")
        with files.open_regular(self.path) as file:
            start = file.read(len(MAGIC) + archive_format.LENGTH.size)
            if start[: len(MAGIC)] != MAGIC[: len(start)] or not start:
                raise ConfigError(
                    f"{self.path} is not a file of compressed images, as `python -m pipeline "
                    "compress` writes them; give --input such a file"
                )
            if len(start) < len(MAGIC) + archive_format.LENGTH.size:
                raise self._damaged("it ends within its header")
            (length,) = archive_format.LENGTH.unpack(start[len(MAGIC) :])
            if length > _MAX_HEADER_BYTES:
                raise self._damaged("its header is too large")
            text, expected = file.read(length), file.read(_DIGEST_BYTES)
        if len(text) < length or len(expected) < _DIGEST_BYTES:
            raise self._damaged("it ends within its header")
        if hashlib.sha256(start + text).digest() != expected:
            raise self._damaged("its header does not have the digest that follows it")
        self._first = len(start) + length + _DIGEST_BYTES
        self.header = self._parse(text)

    @property
    def fingerprint(self) -> str:
        """The digest of the header, which holds the digests of everything else in the file."""
        return fingerprint(dataclasses.asdict(self.header))

    def check_size(self) -> None:
        """Checks the size of the file.

        Raises:
          WorkError: it is not the one that the header says.
        """
        if (size := files.stat(self.path).size) != self._bytes:
            raise self._damaged(
                f"it has {size:,} bytes, and its header says {self._bytes:,}", with_blocks=True
            )

    def check_whole(self) -> None:
        """Checks the size and the digest of the whole file.

        Raises:
          WorkError: the file is truncated, or something in it was changed.
        """
        self.check_size()
        whole, left = hashlib.sha256(), self._bytes - _DIGEST_BYTES
        with files.open_regular(self.path) as file:
            while left and (data := file.read(min(left, _READ_BYTES))):
                whole.update(data)
                left -= len(data)
            if whole.digest() != file.read(_DIGEST_BYTES):
                raise self._damaged("it does not have the digest at its end", with_blocks=True)

    @property
    def _bytes(self) -> int:
        return self._first + self.header.index_bytes + self.header.block_bytes + _DIGEST_BYTES

    def read_index(self) -> Any:
        """The JSON value of the index.

        Raises:
          WorkError: it is damaged.
        """
        data = self._read(self._first, self.header.index_bytes)
        if archive_format.digest(data) != self.header.index_sha256:
            raise self._damaged("its index does not have the digest in its header")
        limit = _INDEX_BYTES + _NAME_BYTES * self.header.images
        decompressor = lzma.LZMADecompressor(memlimit=256 << 20)
        try:
            text = decompressor.decompress(data, limit)
            if not decompressor.eof:
                raise ValueError("the index is too large")
            return json_types.parse_text(text)
        except (ValueError, lzma.LZMAError, EOFError) as error:
            raise self._damaged(str(error)) from None

    def read_block(self, number: int) -> CodedBlock:
        """A block.

        Raises:
          WorkError: it is damaged; the message names it.
        """
        record = self.header.blocks[number]
        before = sum(block.bytes for block in self.header.blocks[:number])
        data = self._read(self._first + self.header.index_bytes + before, record.bytes)
        if archive_format.digest(data) != record.sha256:
            reason = f"block {number} does not have the digest in the header"
            raise self._damaged(reason, with_blocks=True)
        try:
            return archive_format.unpack_block(record, data, self.header.image_shape)
        except ValueError as error:
            raise self._damaged(str(error), with_blocks=True) from None

    def _read(self, first: int, size: int) -> bytes:
        with files.open_regular(self.path) as file:
            file.seek(first)
            buffer = io.BytesIO()
            # Read in parts, since a header may claim more bytes than the file has.
            while (left := size - buffer.tell()) and (part := file.read(min(left, _READ_BYTES))):
                buffer.write(part)
        return buffer.getvalue()

    def _parse(self, text: bytes) -> ArchiveHeader:
        try:
            value = json_types.parse_text(text)
            version = value.get("version") if isinstance(value, dict) else None
            if version != VERSION and isinstance(version, int):
                raise ConfigError(
                    f"{self.path} has version {version} of the format, and this program reads "
                    f"version {VERSION}; decompress it with the version of this project that "
                    "wrote it"
                )
            header = json_types.parse(ArchiveHeader, value)
            archive_format.check(header)
        except ValueError as error:
            raise self._damaged(str(error)) from None
        return header

    def _damaged(self, reason: str, *, with_blocks: bool = False) -> WorkError:
        """An error of a damaged file; `with_blocks` if header and index can still be read."""
        other = ", or save the images of its intact blocks with decompress --salvage"
        return WorkError(
            f"{os.fspath(self.path)} is damaged: {reason}; get the file again"
            f"{other if with_blocks else ''}"
        )

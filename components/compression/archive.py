"""The file format of compressed images, `.vaez`.

  magic, 8 bytes
  length of the header, 4 bytes, little-endian
  header, JSON: see `ArchiveHeader`
  SHA-256 digest of all that is before it, 32 bytes
  index, JSON compressed by xz: names, ids and labels
  blocks, one after the other: the states of the lanes, then the words of the stack, little-endian
  SHA-256 digest of all that is before it, 32 bytes

Everything in a file is checked before it is used: it may come from anyone.
"""

import dataclasses
import hashlib
import io
import json
import lzma
import os
import struct
from collections.abc import Iterable
from typing import IO, Any

import numpy as np
from etils import epath

from components.base import files, json_types
from components.base.errors import ConfigError, WorkError
from components.base.manifest import fingerprint
from components.base.shapes import Shape
from components.compression.blocks import CodedBlock, num_lanes

# Like the magic of PNG: a transfer as text changes it.
MAGIC = b"VAEZ\r\n\x1a\n"
VERSION = 2
_LENGTH = struct.Struct("<I")
_DIGEST_BYTES = 32
_MAX_HEADER_BYTES = 64 << 20
MAX_BLOCK_IMAGES = 1 << 16
MAX_LATENT_BITS = 12
# Of the index when it is decompressed: 64 MiB, and a name of 4 KiB for each image.
_INDEX_BYTES, _NAME_BYTES = 64 << 20, 4 << 10
_READ_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class BlockRecord:
    """What the header says of a block.

    Attributes:
      images: number of images.
      borrowed: see `CodedBlock`.
      bytes: size of the block.
      sha256: SHA-256 digest of the block.
      probe, pixels: see `CodedBlock`.
    """

    images: int
    borrowed: int
    bytes: int
    sha256: str
    probe: str
    pixels: str


@dataclasses.dataclass(frozen=True)
class ArchiveHeader:
    """The header of a file of compressed images.

    Attributes:
      version: of the format.
      model_sha256: SHA-256 digest of the `.keras` file that the images were coded with.
      image_shape: (height, width, channels) of every image.
      latent_bits: latents are multiples of 2^-latent_bits.
      input: digest of what was compressed.
      index_bytes: size of the index.
      index_sha256: SHA-256 digest of the index.
      blocks: the blocks, in order.
    """

    version: int
    model_sha256: str
    image_shape: Shape
    latent_bits: int
    input: str
    index_bytes: int
    index_sha256: str
    blocks: list[BlockRecord]

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(block.images for block in self.blocks)

    @property
    def block_bytes(self) -> int:
        """Size of all blocks."""
        return sum(block.bytes for block in self.blocks)


def digest(data: bytes) -> str:
    """The SHA-256 digest of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def pack_block(block: CodedBlock) -> tuple[BlockRecord, bytes]:
    """A block as the header's record of it and as bytes."""
    data = block.states.astype("<u8").tobytes() + block.words.astype("<u4").tobytes()
    return (
        BlockRecord(
            block.images, block.borrowed, len(data), digest(data), block.probe, block.pixels
        ),
        data,
    )


def unpack_block(record: BlockRecord, data: bytes, image_shape: Shape) -> CodedBlock:
    """The block of a record and bytes, which has the digest of the record.

    Raises:
      ValueError: the bytes are no block of that many images.
    """
    state_bytes = 8 * num_lanes(record.images, image_shape)
    if len(data) < state_bytes or len(data) % 4:
        raise ValueError("a block has an impossible size")
    states = np.frombuffer(data[:state_bytes], "<u8")
    if (states < 1 << 32).any():
        raise ValueError("a block has an impossible state")
    words = np.frombuffer(data[state_bytes:], "<u4")
    return CodedBlock(record.images, record.borrowed, states, words, record.probe, record.pixels)


def pack_index(index: Any) -> bytes:
    """A JSON value as the bytes of an index."""
    return lzma.compress(json.dumps(index, separators=(",", ":")).encode(), preset=9)


def write(file: IO[bytes], header: ArchiveHeader, index: bytes, blocks: Iterable[bytes]) -> None:
    """Writes a file of compressed images; header, index and blocks fit each other."""
    whole = hashlib.sha256()

    def put(data: bytes) -> None:
        whole.update(data)
        file.write(data)

    text = json.dumps(dataclasses.asdict(header), separators=(",", ":")).encode()
    put(MAGIC + _LENGTH.pack(len(text)) + text)
    put(whole.digest())
    put(index)
    for block in blocks:
        put(block)
    file.write(whole.digest())


class Archive:
    """A file of compressed images, whose header is read and checked.

    Args:
      path: the file.

    Raises:
      ConfigError: it is not such a file, or one of a later version.
      WorkError: it is damaged.
    """

    def __init__(self, path: epath.PathLike):
        self.path = epath.Path(path)
        with files.open_regular(self.path) as file:
            start = file.read(len(MAGIC) + _LENGTH.size)
            if start[: len(MAGIC)] != MAGIC[: len(start)] or not start:
                raise ConfigError(
                    f"{self.path} is no file of compressed images, as `python -m pipeline "
                    "compress` writes them; give --input such a file"
                )
            if len(start) < len(MAGIC) + _LENGTH.size:
                raise self._damaged("it ends within its header")
            (length,) = _LENGTH.unpack(start[len(MAGIC) :])
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
        """A digest of the header, and by it of all that the file holds."""
        return fingerprint(dataclasses.asdict(self.header))

    def check_size(self) -> None:
        """Checks the size of the file.

        Raises:
          WorkError: it is not the one that the header says.
        """
        if (size := files.stat(self.path).size) != self._bytes:
            raise self._damaged(f"it has {size:,} bytes, and its header says {self._bytes:,}")

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
                raise self._damaged("it does not have the digest at its end")

    @property
    def _bytes(self) -> int:
        return self._first + self.header.index_bytes + self.header.block_bytes + _DIGEST_BYTES

    def read_index(self) -> Any:
        """The JSON value of the index.

        Raises:
          WorkError: it is damaged.
        """
        data = self._read(self._first, self.header.index_bytes)
        if digest(data) != self.header.index_sha256:
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
        if digest(data) != record.sha256:
            raise self._damaged(f"block {number} does not have the digest in the header")
        try:
            return unpack_block(record, data, self.header.image_shape)
        except ValueError as error:
            raise self._damaged(str(error)) from None

    def _read(self, first: int, size: int) -> bytes:
        with files.open_regular(self.path) as file:
            file.seek(first)
            buffer = io.BytesIO()
            # In parts: a header may ask for more than the file has.
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
            _check(header)
        except ValueError as error:
            raise self._damaged(str(error)) from None
        return header

    def _damaged(self, reason: str) -> WorkError:
        return WorkError(
            f"{os.fspath(self.path)} is damaged: {reason}; get the file again, or save the images "
            "of its intact blocks with decompress --salvage"
        )


def _check(header: ArchiveHeader) -> None:
    """Raises ValueError if the numbers of a header contradict each other."""
    if not 1 <= header.latent_bits <= MAX_LATENT_BITS:
        raise ValueError(f"latent_bits is {header.latent_bits}")
    height, width, channels = header.image_shape
    if min(height, width) < 1 or channels not in (1, 3) or max(height, width) >= 1 << 16:
        raise ValueError(f"image_shape is {list(header.image_shape)}")
    if header.index_bytes < 0:
        raise ValueError(f"index_bytes is {header.index_bytes}")
    for record in header.blocks:
        if not 1 <= record.images <= MAX_BLOCK_IMAGES or min(record.bytes, record.borrowed) < 0:
            raise ValueError("a block has an impossible size")

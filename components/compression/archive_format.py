"""The file format of compressed images, `.vaez`.

magic, 8 bytes
length of the header, 4 bytes, little-endian
header, JSON: see `ArchiveHeader`
SHA-256 digest of all that is before it, 32 bytes
index, JSON compressed by xz: names, ids and labels
blocks, one after the other: the states of the lanes, then the words of the stack, little-endian
SHA-256 digest of all that is before it, 32 bytes
"""

import dataclasses
import hashlib
import json
import lzma
import struct
from collections.abc import Iterable
from typing import IO, Any

import numpy as np

from components.base.shapes import Shape
from components.compression.blocks import CodedBlock, num_lanes

# Like the magic of PNG: a transfer as text changes it.
MAGIC = b"VAEZ\r\n\x1a\n"
VERSION = 2
LENGTH = struct.Struct("<I")
MAX_BLOCK_IMAGES = 1 << 16
MAX_LATENT_BITS = 12


@dataclasses.dataclass(frozen=True)
class BlockRecord:
    """The record of a block in the header.

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
    """A block from its bytes, whose digest the caller has compared with the record.

    Raises:
      ValueError: the bytes are not a block of that many images.
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
    put(MAGIC + LENGTH.pack(len(text)) + text)
    put(whole.digest())
    put(index)
    for block in blocks:
        put(block)
    file.write(whole.digest())


def check(header: ArchiveHeader) -> None:
    """Checks a header that was read.

    Raises:
      ValueError: its numbers contradict each other.
    """
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

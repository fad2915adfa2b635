"""Encodes and decodes single blocks in worker processes.

In a process of its own, a worker runs the networks on one thread. So the order of their sums does
not depend on the number of cores.
"""

import dataclasses
import functools
import json
import os

import numpy as np
from etils import epath

from components.base import artifacts, json_types, tensorflow_setup
from components.base.errors import WorkError
from components.compression import archive_format
from components.compression.archive import Archive
from components.compression.archive_format import BlockRecord
from components.compression.blocks import LabeledImages

_MAX_RECORD_BYTES = 64 << 10


@dataclasses.dataclass(frozen=True)
class ModelPath:
    """The model that blocks are coded with.

    Attributes:
      path: of the `.keras` file.
      sha256: its SHA-256 digest.
    """

    path: str
    sha256: str


def limit_threads() -> None:
    """Makes new processes compute NumPy's matrix products on one thread: blocks run in parallel."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def encode_block(
    model: ModelPath, block: LabeledImages, latent_bits: int, verify: bool, target: str
) -> int:
    """Encodes a block into a file of its own.

    Args:
      model: the model.
      block: its images and labels.
      latent_bits: latents are multiples of 2^-latent_bits.
      verify: whether to decode the block and compare it before it is written.
      target: the file, which holds the record of the block, a line, and its bytes.

    Returns:
      The number of images.

    Raises:
      WorkError: the decoded images differ, or the latents of an image cannot be coded.
    """
    from components.compression import bits_back
    from components.compression.grid_normal import RangeError

    coded = _open(model)
    try:
        encoded = bits_back.encode(coded, block, latent_bits)
    except RangeError:
        raise WorkError(
            "an image is so unlike those that the model was trained on that its latents cannot be "
            "coded; compress images like the training set, or train a model on these"
        ) from None
    record, data = archive_format.pack_block(encoded)
    if verify:
        again = archive_format.unpack_block(record, data, coded.image_shape)
        try:
            bits_back.decode(coded, again, block.labels, latent_bits)
        except bits_back.OtherComputationError:
            raise WorkError(
                "a block was decoded to other images than it was encoded from, because the model "
                "does not compute the same numbers twice on this machine; nothing was written"
            ) from None
    with artifacts.atomic_write(target) as temporary:
        temporary.write_bytes(packed(record, data))
    return len(block.images)


def packed(record: BlockRecord, data: bytes) -> bytes:
    """The content of a file that `encode_block` writes."""
    return json.dumps(dataclasses.asdict(record)).encode() + b"\n" + data


def read_block_file(path: epath.Path) -> tuple[BlockRecord, bytes] | None:
    """The record and the bytes in such a file; None if it is missing or damaged."""
    if not path.exists():
        return None
    line, _, data = path.read_bytes().partition(b"\n")
    try:
        record = json_types.parse(BlockRecord, json_types.parse_text(line[:_MAX_RECORD_BYTES]))
    except ValueError:
        return None
    return (record, data) if archive_format.digest(data) == record.sha256 else None


def pixels_digest(images: np.ndarray) -> str:
    """The digest of images, as in the record of a block."""
    return archive_format.digest(images.tobytes())


def decode_block(
    model: ModelPath, path: str, number: int, labels: np.ndarray, target: str
) -> str | None:
    """Decodes a block into a file of its pixels.

    Args:
      model: the model.
      path: of the file of compressed images.
      number: of the block.
      labels: of its images, int64 [N].
      target: the file of pixels.

    Returns:
      None, or a description of the damage of the block.

    Raises:
      WorkError: the model computes different numbers on this machine.
    """
    from components.compression import bits_back

    compressed = Archive(path)
    try:
        block = compressed.read_block(number)
    except WorkError as error:
        return str(error)
    try:
        images = bits_back.decode(_open(model), block, labels, compressed.header.latent_bits)
    except bits_back.OtherComputationError:
        raise WorkError(
            f"the model computes other numbers on this machine than where {path} was made, so that "
            f"its block {number} cannot be decoded; decompress on the kind of processor and with "
            "the versions of TensorFlow and NumPy that compressed it"
        ) from None
    with artifacts.atomic_write(target) as temporary:
        temporary.write_bytes(images.tobytes())
    return None


@functools.lru_cache(maxsize=1)
def _open(model: ModelPath):
    tensorflow_setup.load()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from components.compression.coded_model import CodedModel
    from components.model import vae

    return CodedModel(vae.load(model.path).in_float32())

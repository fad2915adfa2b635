"""Reads the images of shards by blocks, in any order and from several threads.

A block is a run of consecutive records of a shard (see `shuffle`). Only images are decoded;
`codec.read_batches` also returns ids and labels.
"""

import concurrent.futures
import contextlib
import threading
from collections.abc import Sequence
from typing import IO

import numpy as np
from etils import epath

from components.base import files
from components.base.errors import WorkError
from components.base.shapes import Shape
from components.data import codec, tfrecord
from components.data.shuffle import BlockLayout

_LOCAL_THREADS = 4
_REMOTE_THREADS = 16
# Many threads wait for disks and networks, but only one decodes at a time: decoding mostly holds
# Python's global lock, and takes half as long again when several threads compete for it.
_DECODING = threading.Lock()


class ShardReader:
    """Reads any block of a shard. Safe to use from several threads.

    Args:
      path: the shard, a TFRecord file of examples.
      num_examples: number of its records.
      image_shape: (height, width, channels) of every image.
      block_examples: number of records per block; the last block may have fewer.
      sha256: SHA-256 digest of the file, in hexadecimal, which `verify` compares.
    """

    def __init__(
        self,
        path: epath.Path,
        num_examples: int,
        *,
        image_shape: Shape,
        block_examples: int,
        sha256: str,
    ):
        self._path = path
        self._num_examples = num_examples
        self._image_shape = image_shape
        self._block_examples = block_examples
        self._sha256 = sha256
        self._lock = threading.Lock()
        self._verification = threading.Lock()
        self._is_verified = False
        # The file as it was when it was first opened.
        self._identity: files.FileIdentity | None = None
        self._identification = threading.Lock()
        # Offsets in the file at which blocks begin, and its size; int64 [blocks + 1].
        self._offsets: np.ndarray | None = None

    def verify(self) -> None:
        """Compares the content of the file with its digest, on the first call.

        It may run while blocks are read; their images must not be used before it has returned.

        Raises:
          WorkError: the file is damaged, and the message names the record if it can; or it is the
            file of another run.
        """
        with self._verification:
            if self._is_verified:
                return
            with self._open() as file:
                is_right = files.digest(file) == self._sha256
            if not is_right:
                raise codec.diagnose(self._path, self._image_shape, 0)
            self._is_verified = True

    def _open(self) -> IO[bytes]:
        """Opens the file.

        Raises:
          WorkError: another file has taken its place since it was first opened.
        """
        file = files.open_regular(self._path)
        identity = files.identity(self._path, file)
        with self._identification:
            self._identity = self._identity or identity
        if identity != self._identity:
            file.close()
            raise files.content_error(self._path)
        return file

    def read_images(self, block: int, images: np.ndarray, targets: np.ndarray) -> None:
        """Reads the images of a block into given rows of an array; checks every record.

        Args:
          block: number of the block in the shard.
          images: uint8 [M, height, width, channels], written in place.
          targets: int64 [N], the row of `images` for each image of the block.

        Raises:
          WorkError: a record is damaged, is missing or is not an example of this shape; the
            message names the file and the record.
        """
        with self._lock:
            if self._offsets is None:
                self._offsets = self._find_offsets()
            offsets = self._offsets
        if self._try_read(offsets, block, images, targets):
            return
        # `_find_offsets` may have guessed wrong: see there.
        scanned = self._scan_offsets()
        if (scanned == offsets).all() or not self._try_read(scanned, block, images, targets):
            raise codec.diagnose(self._path, self._image_shape, block * self._block_examples)
        with self._lock:
            self._offsets = scanned

    def _try_read(
        self, offsets: np.ndarray, block: int, images: np.ndarray, targets: np.ndarray
    ) -> bool:
        """Reads a block; returns whether it is intact and at its offset."""
        start, stop = offsets[block : block + 2].tolist()
        try:
            with self._open() as file:
                file.seek(start)
                data = file.read(stop - start)
            with _DECODING:
                codec.decode_images(data, images, targets)
        except (ValueError, OSError):
            return False
        return True

    def _find_offsets(self) -> np.ndarray:
        """The offsets of the blocks, from the first header and the size of the file if possible.

        If the size is that of records which are all as long as the first, this assumes that they
        are, and saves reading every header. Records of different lengths can have the same total;
        then a block is read from a wrong offset, its checks fail, and `read_images` scans the file.
        """
        with contextlib.suppress(ValueError, OSError):
            with self._open() as file:
                length = tfrecord.record_length(file.read(tfrecord.HEADER_BYTES))
            if files.stat(self._path).size == self._num_examples * length:
                return self._block_starts() * length
        return self._scan_offsets()

    def _scan_offsets(self) -> np.ndarray:
        """The offsets of the blocks, from the headers of all records."""
        offsets = np.zeros(len(self._block_starts()), np.int64)
        number = end = 0
        try:
            size = files.stat(self._path).size
            with self._open() as file:
                while end < size and number < self._num_examples:
                    if number % self._block_examples == 0:
                        offsets[number // self._block_examples] = end
                    end += tfrecord.record_length(file.read(tfrecord.HEADER_BYTES))
                    number += 1
                    file.seek(end)
        except (ValueError, OSError):
            raise codec.diagnose(self._path, self._image_shape, number) from None
        if end > size:
            raise codec.diagnose(self._path, self._image_shape, number - 1)
        # Bytes after the last expected record are at least one more record.
        check_num_records(self._path, number + (end < size), self._num_examples)
        offsets[-1] = end
        return offsets

    def _block_starts(self) -> np.ndarray:
        """The number of the first record of each block, and of all records; int64 [blocks + 1]."""
        starts = np.arange(0, self._num_examples, self._block_examples, dtype=np.int64)
        return np.append(starts, self._num_examples)


def check_num_records(path: epath.Path, num_records: int, expected: int) -> None:
    """Compares the number of records in a shard with the number in the manifest.

    Raises:
      WorkError: they differ.
    """
    if num_records > expected:
        raise WorkError(
            f"{path} holds more records than the {expected} that the manifest lists; "
            "prepare again with --overwrite"
        )
    if num_records < expected:
        raise WorkError(
            f"{path} holds {num_records} records, but the manifest lists {expected}: record "
            f"{num_records} is missing; prepare again with --overwrite"
        )


def reader_pool(directory: epath.Path) -> concurrent.futures.ThreadPoolExecutor:
    """Starts the threads that read the shards in a directory."""
    num_threads = _REMOTE_THREADS if files.is_remote(directory) else _LOCAL_THREADS
    return concurrent.futures.ThreadPoolExecutor(num_threads, thread_name_prefix="read")


def read_all_images(
    shards: Sequence[ShardReader],
    layout: BlockLayout,
    images: np.ndarray,
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    """Reads the images of all shards, in order, and shuts down the pool.

    Args:
      shards: readers of the shards.
      layout: the blocks of the shards.
      images: uint8 [examples, height, width, channels], written in place.
      pool: the threads to read with.

    Raises:
      WorkError: see `ShardReader.read_images`.
    """

    def read(block: int) -> None:
        targets = layout.starts[block] + np.arange(layout.sizes[block])
        shards[layout.shards[block]].read_images(int(layout.numbers[block]), images, targets)

    try:
        # The digests last: a damaged record is named by its block.
        reads = [pool.submit(read, block) for block in range(len(layout.sizes))]
        for reading in [*reads, *(pool.submit(shard.verify) for shard in shards)]:
            reading.result()
    finally:
        # After an error, do not read the remaining blocks.
        pool.shutdown(cancel_futures=True)

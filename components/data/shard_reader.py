"""The images of shards alone, in blocks of consecutive records, several at a time.

What wants ids and labels too reads whole shards: `wire.read_blocks`.
"""

import concurrent.futures
import contextlib
import threading
from collections.abc import Sequence

import numpy as np
from etils import epath

from components.base import files
from components.base.errors import WorkError
from components.base.shapes import Shape
from components.data import codec
from components.data.shuffle import BlockLayout

_READERS = 4
_REMOTE_READERS = 16
# Many threads wait for disks and networks, one decodes: it mostly holds Python's lock, and several
# that fight over that take half as long again.
_DECODING = threading.Lock()


class ShardReader:
    """A TFRecord file of examples, of which any block can be read.

    Safe to use from several threads.

    Args:
      path: the file.
      num_examples: how many records it holds.
      image_shape: of every image.
      block_examples: records of a block; the last one holds the rest.
    """

    def __init__(
        self, path: epath.Path, num_examples: int, *, image_shape: Shape, block_examples: int
    ):
        self._path = path
        self._num_examples = num_examples
        self._image_shape = image_shape
        self._block_examples = block_examples
        self._lock = threading.Lock()
        # int64 [blocks + 1], the byte at which each begins, once it is known.
        self._starts: np.ndarray | None = None

    def read_images(self, block: int, images: np.ndarray, places: np.ndarray) -> None:
        """Puts the images of a block at `places` of `images`, each record checked.

        Args:
          block: its number in the shard.
          images: uint8 [any, height, width, channels].
          places: int64, where each image of the block belongs.

        Raises:
          WorkError: a record is damaged, missing or of another kind; names the file and the record.
        """
        with self._lock:
            if self._starts is None:
                self._starts = self._find_starts()
            starts = self._starts
        if self._read(starts, block, images, places):
            return
        # Records of many lengths may add up to what as many of one length take.
        counted = self._counted_starts()
        if (counted == starts).all() or not self._read(counted, block, images, places):
            raise codec.diagnose(self._path, self._image_shape, block * self._block_examples)
        with self._lock:
            self._starts = counted

    def _read(self, starts: np.ndarray, block: int, images: np.ndarray, places: np.ndarray) -> bool:
        """Reads a block; False if something is wrong there."""
        start, stop = starts[block : block + 2].tolist()
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                data = file.read(stop - start)
            with _DECODING:
                codec.decode_images(data, images, places)
        except (ValueError, OSError):
            return False
        return True

    def _find_starts(self) -> np.ndarray:
        """Where blocks begin, int64 [blocks + 1].

        Most often all records are as long as the first, and the file need not be read through to
        know it: should only their sum be as if they were, then the checks of a block fail that is
        read where none begins.
        """
        with contextlib.suppress(ValueError, OSError):
            with self._path.open("rb") as file:
                record = codec.record_bytes(file.read(codec.HEADER_BYTES))
            if files.status(self._path).size == self._num_examples * record:
                return self._firsts() * record
        return self._counted_starts()

    def _counted_starts(self) -> np.ndarray:
        """Where blocks begin, from the header of every record."""
        firsts = self._firsts()
        starts = np.zeros(len(firsts), np.int64)
        number = end = 0
        try:
            size = files.status(self._path).size
            with self._path.open("rb") as file:
                while end < size and number < self._num_examples:
                    if number % self._block_examples == 0:
                        starts[number // self._block_examples] = end
                    end += codec.record_bytes(file.read(codec.HEADER_BYTES))
                    number += 1
                    file.seek(end)
        except (ValueError, OSError):
            raise codec.diagnose(self._path, self._image_shape, number) from None
        if end > size:
            raise codec.diagnose(self._path, self._image_shape, number - 1)
        check_count(self._path, number + (end < size), self._num_examples)
        starts[-1] = end
        return starts

    def _firsts(self) -> np.ndarray:
        """The first record of each block, and the number of all."""
        firsts = np.arange(0, self._num_examples, self._block_examples, dtype=np.int64)
        return np.append(firsts, self._num_examples)


def check_count(path: epath.Path, found: int, num_examples: int) -> None:
    """Raises WorkError if a shard holds other than as many records as its manifest says."""
    if found > num_examples:
        raise WorkError(
            f"{path} holds more records than the {num_examples} that its manifest says; "
            "prepare again with --overwrite"
        )
    if found < num_examples:
        raise WorkError(
            f"{path} holds {found} records, its manifest says {num_examples}: record {found} "
            "is missing; prepare again with --overwrite"
        )


def readers(directory: epath.Path) -> concurrent.futures.ThreadPoolExecutor:
    """Threads to read the shards in a directory with."""
    count = _REMOTE_READERS if files.is_remote(directory) else _READERS
    return concurrent.futures.ThreadPoolExecutor(count, thread_name_prefix="read")


def read_all(
    shards: Sequence[ShardReader],
    layout: BlockLayout,
    images: np.ndarray,
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    """Reads every image, in the order of the shards, and shuts the pool down.

    Raises what `Shard.read_images` does.
    """

    def read(block: int) -> None:
        places = layout.firsts[block] + np.arange(layout.sizes[block])
        shards[layout.shards[block]].read_images(int(layout.numbers[block]), images, places)

    try:
        for reading in [pool.submit(read, block) for block in range(len(layout.sizes))]:
            reading.result()
    finally:
        # After an error the others need not be read.
        pool.shutdown(cancel_futures=True)

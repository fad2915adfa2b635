"""The file of a sorted run: examples in order, of which any range can be read without the others.

It is a sequence of blocks of consecutive examples, with an index at its end:

  block: the keys of its examples (hash, digest, label, end of the id), then their ids in UTF-8,
    then their images.
  index: for each block its offset, its first row, the size of its ids and its first hash; and a
    last entry with the offset of the index and the number of examples.
  end: the number of entries of the index, the size of an image, and a mark.

All numbers are little-endian. Of the blocks at both ends of a range, all keys and ids are read, but
only the images in the range. So the bytes that a range costs do not grow with the number of runs.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import IO

import numpy as np
from etils import epath

from components.base import artifacts, files
from components.base.errors import WorkError
from components.base.shapes import Shape
from components.data.examples import ExampleBatch

# To find a row, all keys of its block are read; blocks of fewer examples make the index longer.
_BLOCK_EXAMPLES = 1024
_KEY = np.dtype([("hash", "<u8"), ("digest", "<u8", 2), ("label", "<i8"), ("id_end", "<u4")])
_ENTRY = np.dtype([("offset", "<u8"), ("row", "<u8"), ("id_bytes", "<u8"), ("hash", "<u8")])
_END = np.dtype([("entries", "<u8"), ("image_bytes", "<u8"), ("mark", "S8")])
_MARK = b"vae-run2"


@dataclasses.dataclass(frozen=True)
class RunRange:
    """Consecutive examples of a run, held in memory.

    Attributes:
      first: row of the first example in the run.
      hashes: uint64, shape [N], in ascending order.
      digests: digests of the pixels: uint64, shape [N, 2].
      examples: the N examples.
    """

    first: int
    hashes: np.ndarray
    digests: np.ndarray
    examples: ExampleBatch

    def without(self, dropped: frozenset[int]) -> "RunRange":
        """Removes the examples whose rows in the run are in `dropped`."""
        if not dropped:
            return self
        kept = [n for n in range(len(self.examples)) if self.first + n not in dropped]
        return self.take(np.array(kept, np.int64))

    def take(self, rows: np.ndarray) -> "RunRange":
        """The examples with the indices `rows`, in that order, copied."""
        return RunRange(self.first, self.hashes[rows], self.digests[rows], self.examples.take(rows))


class SortedRunWriter:
    """A run that is being written, from its first example to its last one."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._index: list[tuple[int, int, int, int]] = []
        self._offset = self._rows = self._image_bytes = 0

    def add(self, examples: RunRange) -> None:
        """Writes examples that follow all earlier ones in order, and have images of their shape."""
        ids = [example_id.encode() for example_id in examples.examples.ids]
        images = examples.examples.images.reshape(len(ids), -1)
        self._image_bytes = images.shape[1]
        for start in range(0, len(ids), _BLOCK_EXAMPLES):
            part = slice(start, start + _BLOCK_EXAMPLES)
            keys = np.empty(len(ids[part]), _KEY)
            keys["hash"] = examples.hashes[part]
            keys["digest"] = examples.digests[part]
            keys["label"] = examples.examples.labels[part]
            keys["id_end"] = np.cumsum([len(each) for each in ids[part]])
            self._add_block(keys, b"".join(ids[part]), images[part])

    def _add_block(self, keys: np.ndarray, ids: bytes, images: np.ndarray) -> None:
        self._index.append((self._offset, self._rows, len(ids), int(keys["hash"][0])))
        # TensorFlow's file objects accept only bytes; the copy is that of one block.
        for data in (keys.tobytes(), ids, images.tobytes()):
            self._file.write(data)
            self._offset += len(data)
        self._rows += len(keys)

    def finish(self) -> None:
        """Writes the index."""
        index = np.array([*self._index, (self._offset, self._rows, 0, 0)], _ENTRY)
        end = np.array((len(index), self._image_bytes, _MARK), _END)
        self._file.write(index.tobytes() + end.tobytes())


@contextlib.contextmanager
def new_run(path: epath.Path, *, durable: bool = False) -> Iterator[SortedRunWriter]:
    """Yields the writer of a run, which appears at `path` if the body succeeds.

    Args:
      path: the file.
      durable: flush the file to disk if it is local, so that it survives a power failure.
    """
    with artifacts.atomic_write(path) as temporary, temporary.open("wb") as file:
        writer = SortedRunWriter(file)
        yield writer
        writer.finish()
        if durable:
            files.flush(path, file)


class SortedRunReader:
    """An open run, from which ranges can be read."""

    def __init__(self, path: epath.Path, file: IO[bytes]):
        self._path = path
        self._file = file
        size = files.stat(path).size
        if size < _END.itemsize:
            raise damaged(path)
        (end,) = np.frombuffer(self._read(size - _END.itemsize, _END.itemsize), _END)
        if end["mark"] != _MARK:
            raise damaged(path)
        entries, self._image_bytes = int(end["entries"]), int(end["image_bytes"])
        place = size - _END.itemsize - entries * _ENTRY.itemsize
        if place < 0 or not 0 < entries <= size or self._image_bytes > size:
            raise damaged(path)
        self._index = np.frombuffer(self._read(place, entries * _ENTRY.itemsize), _ENTRY)
        if not self._is_consistent(place):
            raise damaged(path)
        # A range often begins in the block in which the range before it ended.
        self._block = -1
        self._keys = np.empty(0, _KEY)
        self._ids = b""

    def _is_consistent(self, place: int) -> bool:
        """Whether blocks of the sizes in the index fill the file up to the index, at `place`."""
        first, last = self._index[0], self._index[-1]
        if (first["offset"], first["row"], last["offset"]) != (0, 0, place):
            return False
        offsets, rows = (self._index[name].astype(np.int64) for name in ("offset", "row"))
        id_bytes, counts = self._index["id_bytes"][:-1].astype(np.int64), np.diff(rows)
        if counts.size and not 0 < counts.min() <= counts.max() <= _BLOCK_EXAMPLES:
            return False
        sizes = id_bytes + counts * (_KEY.itemsize + self._image_bytes)
        return bool((id_bytes >= 0).all() and (np.diff(offsets) == sizes).all())

    def read(self, shape: Shape, low: int, high: int) -> RunRange:
        """Copies the examples with hashes in [low, high); `shape` is the shape of the images."""
        rows, parts, ids, images = [], [], [], []
        for block, start, stop in self._places(low, high):
            keys = self._load(block)
            rows.append(int(self._index["row"][block]) + start)
            parts.append(keys[start:stop])
            ids += self._ids_of(start, stop)
            images.append(self._images(block, start, stop))
        # Concatenated, even a single part: a view would keep its whole block in memory.
        labels = np.concatenate([part["label"] for part in parts])
        pixels = np.concatenate(images).reshape(-1, *shape)
        return RunRange(
            rows[0],
            np.concatenate([part["hash"] for part in parts]),
            np.concatenate([part["digest"] for part in parts]),
            ExampleBatch(ids, pixels, labels),
        )

    def read_keys(self, low: int, high: int) -> Iterator[tuple[int, np.ndarray, bytes]]:
        """Yields the examples with hashes in [low, high), without their images, block by block.

        Yields:
          The row of the first example, the examples' keys, and their ids in UTF-8, joined; the
          `id_end` of a key is relative to the start of these ids.
        """
        for block, start, stop in self._places(low, high):
            keys = self._load(block)[start:stop].copy()
            begin = int(self._keys["id_end"][start - 1]) if start else 0
            end = int(keys["id_end"][-1]) if len(keys) else begin
            keys["id_end"] -= begin
            yield int(self._index["row"][block]) + start, keys, self._ids[begin:end]

    def _places(self, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        """Yields each block that may have hashes in [low, high), and the range of these rows in it.

        Yields at least one block. The end of a range of rows is exclusive.
        """
        # By the last hash of the range, since `high` may be 2**64, which is not a uint64.
        smallest, largest = np.uint64(low), np.uint64(high - 1)
        hashes = self._index["hash"][:-1]
        begin = max(0, int(np.searchsorted(hashes, smallest)) - 1)
        end = max(begin + 1, int(np.searchsorted(hashes, largest, side="right")))
        for block in range(begin, end):
            keys = self._load(block)
            start = int(np.searchsorted(keys["hash"], smallest))
            yield block, start, int(np.searchsorted(keys["hash"], largest, side="right"))

    def blocks(self) -> Iterator[tuple[np.ndarray, list[str]]]:
        """Yields the keys and the ids of each block, without its images."""
        for block in range(len(self._index) - 1):
            keys = self._load(block)
            yield keys, self._ids_of(0, len(keys))

    def blocks_with_images(self) -> Iterator[tuple[np.ndarray, list[str], np.ndarray]]:
        """Yields the keys, the ids and the images of each block."""
        for block, (keys, ids) in enumerate(self.blocks()):
            yield keys, ids, self._images(block, 0, len(keys))

    def _load(self, block: int) -> np.ndarray:
        """Reads the keys and the ids of a block, unless it was the last one read."""
        if block != self._block:
            entry, rows = self._index[block], self._num_rows(block)
            data = self._read(int(entry["offset"]), rows * _KEY.itemsize + int(entry["id_bytes"]))
            self._keys = np.frombuffer(data, _KEY, rows)
            expected = (entry["hash"], entry["id_bytes"])
            if (self._keys["hash"][0], self._keys["id_end"][-1]) != expected:
                raise damaged(self._path)
            self._ids = data[self._keys.nbytes :]
            self._block = block
        return self._keys

    def _num_rows(self, block: int) -> int:
        return int(self._index["row"][block + 1] - self._index["row"][block])

    def _ids_of(self, start: int, stop: int) -> list[str]:
        """The ids of the rows [start, stop) of the last block read."""
        ends = [0, *self._keys["id_end"].tolist()]
        return [self._ids[ends[row] : ends[row + 1]].decode() for row in range(start, stop)]

    def _images(self, block: int, start: int, stop: int) -> np.ndarray:
        """The images of the rows [start, stop) of a block: uint8, shape [N, image_bytes]."""
        following = int(self._index["offset"][block + 1])
        place = following - (self._num_rows(block) - start) * self._image_bytes
        data = self._read(place, (stop - start) * self._image_bytes)
        return np.frombuffer(data, np.uint8).reshape(stop - start, self._image_bytes)

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)


def damaged(path: epath.Path) -> WorkError:
    """The error of a run that is missing or damaged."""
    return WorkError(
        f"{path} is missing or damaged: it is part of unfinished work, which cannot be continued; "
        f"remove the directory {path.parent.parent}, and run the same command again"
    )


@contextlib.contextmanager
def open_run(path: epath.Path) -> Iterator[SortedRunReader]:
    """Opens a run. What is read from it stays valid after the run is closed.

    Raises:
      WorkError: the file is missing or damaged.
    """
    with contextlib.ExitStack() as stack:
        try:
            reader = SortedRunReader(path, stack.enter_context(files.open_regular(path)))
        except FileNotFoundError:
            raise damaged(path) from None
        yield reader

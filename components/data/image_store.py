"""The images to train on: in memory if they fit, and otherwise streamed from their shards.

Both kinds of store give the same examples at the same positions of an epoch, so the amount of
memory changes only the speed of training.
"""

import collections
import concurrent.futures
import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from components.base import memory
from components.base.shapes import Shape
from components.data.prepared_dataset import PreparedDataset
from components.data.shard_reader import reader_pool
from components.data.shuffle import BLOCK_BYTES, WINDOW_BLOCKS, BlockLayout, ShuffleOrder, Window


class ImageStore(Protocol):
    """Images by their position in an epoch.

    Attributes:
      layout: the blocks of the examples.
      image_shape: (height, width, channels) of every image.
      is_in_memory: whether all images are in memory.
    """

    layout: BlockLayout
    image_shape: Shape
    is_in_memory: bool

    def fill(self, images: np.ndarray, order: ShuffleOrder, epoch: int, start: int) -> None:
        """Fills an array with consecutive images of an epoch. Not safe to use from several threads.

        Args:
          images: uint8 [N, height, width, channels], written in place.
          order: the order of the examples.
          epoch: the epoch.
          start: position in the epoch of the first image.

        Raises:
          WorkError: a shard is damaged; the message names the file and the record.
        """

    def close(self) -> None:
        """Stops the threads of the store."""


class InMemoryImages:
    """A store of images that are in memory.

    Args:
      images: uint8 [examples, height, width, channels].
      lengths: number of images in each shard; None: they are a single shard.
      block_bytes, window_blocks: see `BlockLayout`.
    """

    is_in_memory = True

    def __init__(
        self,
        images: np.ndarray,
        lengths: Sequence[int] | None = None,
        *,
        block_bytes: int = BLOCK_BYTES,
        window_blocks: int = WINDOW_BLOCKS,
    ):
        height, width, channels = images.shape[1:]
        self.image_shape = (height, width, channels)
        self.layout = BlockLayout(
            [len(images)] if lengths is None else lengths,
            image_bytes=math.prod(self.image_shape),
            block_bytes=block_bytes,
            window_blocks=window_blocks,
        )
        self._images = images

    def fill(self, images: np.ndarray, order: ShuffleOrder, epoch: int, start: int) -> None:
        """See `ImageStore.fill`."""
        rows = order.rows(epoch, start, start + len(images))
        # In the default mode "raise", NumPy writes to a temporary array first.
        np.take(self._images, rows, axis=0, out=images, mode="clip")

    def close(self) -> None:
        """Does nothing: this store has no threads."""


@dataclasses.dataclass(frozen=True)
class _LoadingWindow:
    """A window whose images are being read or have been read.

    Attributes:
      window: the window.
      images: uint8, the buffer that its images are read into, in the order of the window.
      reads: the read of each block, and the verification of each shard; empty once all are known
        to have succeeded.
    """

    window: Window
    images: np.ndarray
    reads: list[concurrent.futures.Future]


class StreamedImages:
    """A store that reads the images from their shards, one window ahead of the one in use.

    Args:
      dataset: the prepared dataset.
      split: name of the split to read.
      block_bytes, window_blocks: see `BlockLayout`.

    Raises:
      ConfigError: there is no such split.
    """

    is_in_memory = False

    def __init__(
        self,
        dataset: PreparedDataset,
        split: str,
        *,
        block_bytes: int = BLOCK_BYTES,
        window_blocks: int = WINDOW_BLOCKS,
    ):
        self.image_shape = dataset.image_shape
        self.layout = dataset.layout(split, block_bytes=block_bytes, window_blocks=window_blocks)
        self._shards = dataset.shard_readers(split, self.layout)
        self._pool = reader_pool(dataset.path)
        # The window in use and the next one, in this order.
        self._windows: collections.deque[_LoadingWindow] = collections.deque()
        # The unused buffers; there are two in total. They are reused, because allocating so much
        # memory takes time.
        self._free_buffers = [
            np.empty((self.layout.max_window_examples, *self.image_shape), np.uint8)
            for _ in range(2)
        ]

    def fill(self, images: np.ndarray, order: ShuffleOrder, epoch: int, start: int) -> None:
        """See `ImageStore.fill`."""
        num_filled = 0
        while num_filled < len(images):
            position = start + num_filled
            window = order.window_at(epoch, position)
            window_images = self._load(window, order)
            part = window_images[position - window.start :][: len(images) - num_filled]
            images[num_filled : num_filled + len(part)] = part
            num_filled += len(part)

    def close(self) -> None:
        """Stops the threads that read; reads that have not started are canceled."""
        self._pool.shutdown(cancel_futures=True)

    def _load(self, window: Window, order: ShuffleOrder) -> np.ndarray:
        """Waits for the images of a window, and starts to read the next window.

        Returns:
          The images in the order of the window, uint8 [examples, height, width, channels].
        """
        while self._windows and not self._windows[0].window.is_same(window):
            self._drop_first()
        if not self._windows:
            self._start_reading(window)
        while self._free_buffers:
            self._start_reading(order.next_window(self._windows[-1].window))
        loading = self._windows[0]
        for read in loading.reads:
            read.result()
        # All reads have succeeded: later calls need not check them again.
        loading.reads.clear()
        return loading.images[: len(window)]

    def _start_reading(self, window: Window) -> None:
        images = self._free_buffers.pop()
        # The inverse of the permutation: where in the window each example goes.
        targets = np.empty(len(window), np.int64)
        targets[window.order] = np.arange(len(window))
        reads = [
            self._pool.submit(
                self._shards[self.layout.shards[block]].read_images,
                int(self.layout.numbers[block]),
                images,
                targets[start:stop],
            )
            for block, start, stop in zip(
                window.blocks, window.offsets[:-1], window.offsets[1:], strict=True
            )
        ]
        shards = np.unique(self.layout.shards[window.blocks])
        reads += [self._pool.submit(self._shards[shard].verify) for shard in shards]
        self._windows.append(_LoadingWindow(window, images, reads))

    def _drop_first(self) -> None:
        """Drops the first window, and frees its buffer once no thread writes to it."""
        dropped = self._windows.popleft()
        running = [read for read in dropped.reads if not read.cancel()]
        concurrent.futures.wait(running)
        self._free_buffers.append(dropped.images)


def cache_limit(cache_bytes: int | None) -> int:
    """The maximum size of images in memory: `cache_bytes`, or a quarter of the free memory."""
    return memory.free_memory() // 4 if cache_bytes is None else cache_bytes


def open_store(
    dataset: PreparedDataset, split: str, *, cache_bytes: int | None = None
) -> ImageStore:
    """Loads the images of a split into memory if they fit there, and otherwise streams them.

    Args:
      dataset: the prepared dataset.
      split: name of the split to read.
      cache_bytes: maximum size in bytes of images in memory; None: a quarter of the free memory.

    Raises:
      ConfigError: there is no such split.
      WorkError: a shard is damaged; the message names the file and the record.
    """
    if dataset.num_examples(split) * math.prod(dataset.image_shape) > cache_limit(cache_bytes):
        return StreamedImages(dataset, split)
    images = dataset.images(split)
    return InMemoryImages(images, [shard.examples for shard in dataset.shards[split]])

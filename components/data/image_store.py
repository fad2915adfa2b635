"""Where training examples come from: memory, if they fit, or their shards.

Both give the same examples at the same places of an epoch, so what memory there is changes nothing
but the speed.
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
from components.data.shard_reader import readers
from components.data.shuffle import BLOCK_BYTES, WINDOW_BLOCKS, BlockLayout, ShuffleOrder, Window


class ImageStore(Protocol):
    """Images, by their place in an epoch.

    Attributes:
      layout: of the examples.
      image_shape: (height, width, channels).
      is_in_memory: whether they lie in memory.
    """

    layout: BlockLayout
    image_shape: Shape
    is_in_memory: bool

    def fill(self, images: np.ndarray, order: ShuffleOrder, epoch: int, first: int) -> None:
        """Copies the examples from the place `first` of an epoch on to `images`.

        Not from several threads at a time.

        Raises:
          WorkError: a shard is damaged; names the file and the record.
        """

    def close(self) -> None:
        """Ends what runs in the background."""


class InMemoryImages:
    """Images in memory.

    Args:
      images: uint8 [examples, height, width, channels].
      lengths: how many of them each shard has; without, they are one.
      block_bytes, window_blocks: of the layout.
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

    def fill(self, images: np.ndarray, order: ShuffleOrder, epoch: int, first: int) -> None:
        rows = order.rows(epoch, first, first + len(images))
        # With another mode NumPy would copy all of it once more.
        np.take(self._images, rows, axis=0, out=images, mode="clip")

    def close(self) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class _Loading:
    """A window on its way to memory.

    Attributes:
      window: which one.
      images: uint8, its examples at their places, once all reads are done.
      reads: one for each block, none once all are known to be done.
    """

    window: Window
    images: np.ndarray
    reads: list[concurrent.futures.Future]


class StreamedImages:
    """Images that are read from their shards window by window, the next while one is used.

    Args:
      examples: the set.
      split: of it.
      block_bytes, window_blocks: of the layout.

    Raises:
      ConfigError: there is no such split.
    """

    is_in_memory = False

    def __init__(
        self,
        examples: PreparedDataset,
        split: str,
        *,
        block_bytes: int = BLOCK_BYTES,
        window_blocks: int = WINDOW_BLOCKS,
    ):
        self.image_shape = examples.image_shape
        self.layout = examples.layout(split, block_bytes=block_bytes, window_blocks=window_blocks)
        self._shards = examples.shard_files(split, self.layout)
        self._pool = readers(examples.path)
        self._loading: collections.deque[_Loading] = collections.deque()
        # Two are enough. They serve again, since to claim so much memory anew takes time.
        self._buffers = [
            np.empty((self.layout.largest_window, *self.image_shape), np.uint8) for _ in range(2)
        ]

    def fill(self, images: np.ndarray, order: ShuffleOrder, epoch: int, first: int) -> None:
        done = 0
        while done < len(images):
            window = order.window_at(epoch, first + done)
            loaded = self._loaded(window, order)
            part = loaded[first + done - window.first :][: len(images) - done]
            images[done : done + len(part)] = part
            done += len(part)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _loaded(self, window: Window, order: ShuffleOrder) -> np.ndarray:
        """The examples of a window at their places; the next one is on its way then."""
        while self._loading and not self._loading[0].window.is_same(window):
            self._drop()
        if not self._loading:
            self._load(window)
        while self._buffers:
            self._load(order.after(self._loading[-1].window))
        loading = self._loading[0]
        for read in loading.reads:
            read.result()
        # Not to be asked again at every step.
        loading.reads.clear()
        return loading.images[: len(window)]

    def _load(self, window: Window) -> None:
        images = self._buffers.pop()
        places = np.empty(len(window), np.int64)
        places[window.order] = np.arange(len(window))
        reads = [
            self._pool.submit(
                self._shards[self.layout.shards[block]].read_images,
                int(self.layout.numbers[block]),
                images,
                places[start:stop],
            )
            for block, start, stop in zip(
                window.blocks, window.starts[:-1], window.starts[1:], strict=True
            )
        ]
        self._loading.append(_Loading(window, images, reads))

    def _drop(self) -> None:
        """Lets go of the first window, once nothing is written there any more."""
        dropped = self._loading.popleft()
        running = [read for read in dropped.reads if not read.cancel()]
        concurrent.futures.wait(running)
        self._buffers.append(dropped.images)


def open_store(
    examples: PreparedDataset, split: str, *, cache_bytes: int | None = None
) -> ImageStore:
    """Holds a split in memory if it takes at most `cache_bytes` there, else streams it.

    Args:
      examples: the set.
      split: of it.
      cache_bytes: without, a quarter of the free memory.

    Raises:
      ConfigError: there is no such split.
      WorkError: a shard is damaged; names the file and the record.
    """
    limit = memory.free_memory() // 4 if cache_bytes is None else cache_bytes
    if examples.num_examples(split) * math.prod(examples.image_shape) > limit:
        return StreamedImages(examples, split)
    return InMemoryImages(examples.images(split), [count for _, count in examples.shards[split]])

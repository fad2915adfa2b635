"""The order of training examples: a shuffle on two levels, a pure function of (seed, epoch).

A *block* is a run of consecutive records of one shard, with about 1 MiB of pixels. A *window* is a
group of up to 64 blocks that are in memory at the same time; it plays the role of a shuffle buffer.
Each epoch

1. puts all blocks in a random order,
2. forms windows of consecutive blocks in that order, and
3. puts the examples of each window in a random order.

For example, take two shards of 5 and 4 examples, with blocks of 2 examples and windows of 2 blocks.
Numbered over all shards, the examples come in this order in epoch 0 with seed 2:

    shards             0 1   2 3   4   |  5 6   7 8
    blocks            [0 1] [2 3] [4]  | [5 6] [7 8]
    shuffled blocks   [4]   [7 8]   [5 6]   [0 1]   [2 3]
    windows           [4]   [7 8] | [5 6]   [0 1] | [2 3]
    order              8 7 4      |  5 6 1 0      |  3 2

Why two levels? A full shuffle needs either all images in memory or a random read per example, and
a read from a disk or an object store is efficient only for about 1 MiB or more. Shuffling blocks
alone would keep neighbors together; shuffling windows alone would mix only neighboring blocks.
With both, a reader needs the memory of one window (and of the next, which it reads ahead).

If all blocks fit in one window, every order of the examples is equally likely. Otherwise, examples
of one block always share a window. This does not bias training: `prepare` assigns examples to
shards and sorts them by a hash of their ids, so each block is already a random sample.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from components.base.arithmetic import ceil_div

BLOCK_BYTES = 1 << 20
WINDOW_BLOCKS = 64


class BlockLayout:
    """How the examples of some shards are divided into blocks.

    Blocks are numbered over all shards, and so are examples.

    Args:
      lengths: number of examples in each shard.
      image_bytes: size of an image in bytes.
      block_bytes: maximum size of a block in bytes of pixels; a larger image is a block by itself.
      window_blocks: maximum number of blocks in a window.

    Attributes:
      num_examples: number of examples in all shards.
      block_examples: maximum number of examples in a block.
      window_blocks: maximum number of blocks in a window.
      shards: int64 [blocks], the shard of each block.
      numbers: int64 [blocks], the number of each block in its shard.
      sizes: int64 [blocks], the number of examples in each block.
      starts: int64 [blocks], the first example of each block.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        image_bytes: int,
        block_bytes: int = BLOCK_BYTES,
        window_blocks: int = WINDOW_BLOCKS,
    ):
        self.num_examples = sum(lengths)
        self.block_examples = max(1, block_bytes // image_bytes)
        self.window_blocks = window_blocks
        blocks = np.array([ceil_div(length, self.block_examples) for length in lengths], np.int64)
        self.shards = np.repeat(np.arange(len(blocks)), blocks)
        self.numbers = np.arange(len(self.shards)) - np.repeat(np.cumsum(blocks) - blocks, blocks)
        # The last block of a shard has the rest of its examples.
        in_shard = np.array(lengths, np.int64)[self.shards]
        self.sizes = np.minimum(self.block_examples, in_shard - self.numbers * self.block_examples)
        self.starts = np.cumsum(self.sizes) - self.sizes

    @property
    def max_window_examples(self) -> int:
        """The maximum number of examples in a window."""
        return min(self.num_examples, self.window_blocks * self.block_examples)


@dataclasses.dataclass(frozen=True)
class Window:
    """A group of blocks whose examples are shuffled together.

    Attributes:
      seed, epoch, number: identity of the window; `number` counts the windows of an epoch.
      start: position in the epoch of its first example.
      blocks: int64 [blocks], its blocks, as numbered in the layout.
      offsets: int64 [blocks + 1], the number of its examples before each block, and the total.
      order: int64 [examples], a permutation: at position `start + i` of the epoch is the example
        with index `order[i]` among the examples of `blocks`.
    """

    seed: int
    epoch: int
    number: int
    start: int
    blocks: np.ndarray
    offsets: np.ndarray
    order: np.ndarray

    def __len__(self) -> int:
        return len(self.order)

    def is_same(self, other: "Window") -> bool:
        """Whether both are the same window of a layout."""
        return (self.seed, self.epoch, self.number) == (other.seed, other.epoch, other.number)


class ShuffleOrder:
    """The order of the examples of a layout in every epoch.

    Args:
      layout: the blocks of the examples.
      seed: seed of the shuffle.
    """

    def __init__(self, layout: BlockLayout, seed: int):
        self.layout = layout
        self._seed = seed
        # Consecutive steps ask for the same window, and readers for the next one ahead of time,
        # which may be in the next epoch.
        self._blocks = functools.lru_cache(maxsize=2)(self._shuffle_blocks)
        self.window = functools.lru_cache(maxsize=3)(self._make_window)
        self._window_rows = functools.lru_cache(maxsize=2)(self._make_window_rows)

    def window_at(self, epoch: int, position: int) -> Window:
        """The window that holds a position of an epoch."""
        _, starts = self._blocks(epoch)
        return self.window(epoch, int(np.searchsorted(starts, position, side="right")) - 1)

    def next_window(self, window: Window) -> Window:
        """The window after `window`; after the last one of an epoch, the first of the next."""
        if window.start + len(window) < self.layout.num_examples:
            return self.window(window.epoch, window.number + 1)
        return self.window(window.epoch + 1, 0)

    def rows(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """The examples at positions `start` to `stop` of an epoch, int64 [stop - start]."""
        parts = [np.zeros(0, np.int64)]
        while start < stop:
            window = self.window_at(epoch, start)
            rows = self._window_rows(epoch, window.number)
            part = rows[start - window.start : stop - window.start]
            parts.append(part)
            start += len(part)
        return np.concatenate(parts)

    def _shuffle_blocks(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The blocks in the order of an epoch, and the position at which each window starts."""
        blocks = self._rng(epoch, 0).permutation(len(self.layout.sizes))
        # An exclusive sum of the sizes; every `window_blocks`-th block begins a window.
        positions = np.cumsum(self.layout.sizes[blocks]) - self.layout.sizes[blocks]
        return blocks, positions[:: self.layout.window_blocks]

    def _make_window(self, epoch: int, number: int) -> Window:
        all_blocks, starts = self._blocks(epoch)
        blocks = all_blocks[number * self.layout.window_blocks :][: self.layout.window_blocks]
        offsets = np.append(0, np.cumsum(self.layout.sizes[blocks]))
        order = self._rng(epoch, 1 + number).permutation(offsets[-1])
        return Window(self._seed, epoch, number, int(starts[number]), blocks, offsets, order)

    def _make_window_rows(self, epoch: int, number: int) -> np.ndarray:
        """The examples of a window, in order."""
        window = self.window(epoch, number)
        # Within a block, an example differs from its index in the window by a constant.
        shifts = self.layout.starts[window.blocks] - window.offsets[:-1]
        rows = np.repeat(shifts, np.diff(window.offsets)) + np.arange(len(window))
        return rows[window.order]

    def _rng(self, epoch: int, number: int) -> np.random.Generator:
        """Random numbers of an epoch: `number` 0 for the blocks, 1 + n for window n."""
        return np.random.default_rng(np.random.SeedSequence([self._seed, epoch, number]))

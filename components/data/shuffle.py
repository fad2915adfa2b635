"""The order of training examples, a pure function of (seed, epoch) that asks for little memory.

Every shard is cut into blocks of consecutive records. An epoch puts all blocks into a random order,
cuts that into windows of some blocks each, and puts the examples of each window into a random
order. So a reader needs one window in memory at a time, and reads it in pieces worth a request.

Up to 64 blocks of 1 MiB are one window: all orders are then equally likely. Of more, an example
meets in its window the neighbours it has in its block; but these are a random sample already, since
prepare assigns and sorts examples by a hash of their ids.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

BLOCK_BYTES = 1 << 20
WINDOW_BLOCKS = 64


class BlockLayout:
    """Which blocks and windows the examples of some shards make.

    Examples are counted over all shards, in their order.

    Args:
      lengths: how many examples each shard has.
      image_bytes: of one example.
      block_bytes: of pixels, the most of a block; but it holds one example at least.
      window_blocks: the most blocks of a window.

    Attributes:
      num_examples: all of them.
      block_examples: the most examples of a block.
      window_blocks: as given.
      shards: int64 [blocks], the shard in which each block lies.
      numbers: int64 [blocks], its number in the shard.
      sizes: int64 [blocks], how many examples it has.
      firsts: int64 [blocks], the first of them.
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
        in_shard = np.array(lengths, np.int64)
        blocks = -(-in_shard // self.block_examples)
        self.shards = np.repeat(np.arange(len(blocks)), blocks)
        self.numbers = np.arange(len(self.shards)) - np.repeat(np.cumsum(blocks) - blocks, blocks)
        self.sizes = np.minimum(
            self.block_examples, in_shard[self.shards] - self.numbers * self.block_examples
        )
        self.firsts = np.cumsum(self.sizes) - self.sizes

    @property
    def largest_window(self) -> int:
        """The most examples that a window can have."""
        return min(self.num_examples, self.window_blocks * self.block_examples)


@dataclasses.dataclass(frozen=True)
class Window:
    """A run of examples in the order of an epoch.

    Attributes:
      seed, epoch, number: which one it is.
      first: its first place in the epoch.
      blocks: int64, the blocks it is made of.
      starts: int64, how many of its examples lie before each block, and of all.
      order: int64 [examples]: which of its examples stands at each of its places.
    """

    seed: int
    epoch: int
    number: int
    first: int
    blocks: np.ndarray
    starts: np.ndarray
    order: np.ndarray

    def __len__(self) -> int:
        return len(self.order)

    def is_same(self, other: "Window") -> bool:
        """Whether both are one window of a layout."""
        return (self.seed, self.epoch, self.number) == (other.seed, other.epoch, other.number)


class ShuffleOrder:
    """The order of the examples of a layout in every epoch.

    Args:
      layout: of the examples.
      seed: of the shuffling.
    """

    def __init__(self, layout: BlockLayout, seed: int):
        self.layout = layout
        self._seed = seed
        # A window is asked for step by step, and the next one while it is used.
        self._blocks = functools.lru_cache(maxsize=2)(self._make_blocks)
        self.window = functools.lru_cache(maxsize=3)(self._make_window)
        self._rows = functools.lru_cache(maxsize=2)(self._make_rows)

    def window_at(self, epoch: int, place: int) -> Window:
        """The window in which a place of an epoch lies."""
        _, firsts = self._blocks(epoch)
        return self.window(epoch, int(np.searchsorted(firsts, place, side="right")) - 1)

    def after(self, window: Window) -> Window:
        """The window that follows, in the next epoch after an epoch's last."""
        if window.first + len(window) < self.layout.num_examples:
            return self.window(window.epoch, window.number + 1)
        return self.window(window.epoch + 1, 0)

    def rows(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """The examples at the places from `start` to `stop` of an epoch, int64."""
        parts = [np.zeros(0, np.int64)]
        while start < stop:
            window = self.window_at(epoch, start)
            part = self._rows(epoch, window.number)[start - window.first : stop - window.first]
            parts.append(part)
            start += len(part)
        return np.concatenate(parts)

    def _make_blocks(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of an epoch's blocks, and the place at which each of its windows begins."""
        blocks = self._rng(epoch, 0).permutation(len(self.layout.sizes))
        places = np.cumsum(self.layout.sizes[blocks]) - self.layout.sizes[blocks]
        return blocks, places[:: self.layout.window_blocks]

    def _make_window(self, epoch: int, number: int) -> Window:
        all_blocks, firsts = self._blocks(epoch)
        blocks = all_blocks[number * self.layout.window_blocks :][: self.layout.window_blocks]
        starts = np.append(0, np.cumsum(self.layout.sizes[blocks]))
        order = self._rng(epoch, 1 + number).permutation(starts[-1])
        return Window(self._seed, epoch, number, int(firsts[number]), blocks, starts, order)

    def _make_rows(self, epoch: int, number: int) -> np.ndarray:
        window = self.window(epoch, number)
        shifts = self.layout.firsts[window.blocks] - window.starts[:-1]
        rows = np.repeat(shifts, np.diff(window.starts)) + np.arange(len(window))
        return rows[window.order]

    def _rng(self, epoch: int, number: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self._seed, epoch, number]))

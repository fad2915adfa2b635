"""Examples: what one is, and how many of them lie together.

An example is an image (uint8 pixels), a label and an id. Its tf.Example has three features:
`image` (the raw pixels, row by row), `label` (int64) and `id` (UTF-8), so that a folder of them
reads back with `tfds.builder_from_directory` and no image is ever decoded in training.
"""

import dataclasses
import hashlib
from collections.abc import Iterable

import numpy as np

from components.base.shapes import Shape

SPLITS = ("train", "validation", "test")
CHANNELS = (1, 3)


@dataclasses.dataclass(frozen=True)
class ExampleBatch:
    """Examples of one shape, side by side.

    Attributes:
      ids: N texts.
      images: uint8, shape [N, height, width, channels].
      labels: int64, shape [N].
    """

    ids: list[str]
    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> Shape:
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def take(self, rows: np.ndarray) -> "ExampleBatch":
        """The examples at `rows`: indices, in the order given."""
        return ExampleBatch([self.ids[row] for row in rows], self.images[rows], self.labels[rows])

    def part(self, start: int, stop: int) -> "ExampleBatch":
        """The examples from `start` to `stop`, without a copy of the images."""
        return ExampleBatch(self.ids[start:stop], self.images[start:stop], self.labels[start:stop])

    @staticmethod
    def concatenate(blocks: Iterable["ExampleBatch"]) -> "ExampleBatch":
        blocks = list(blocks)
        return ExampleBatch(
            [example_id for block in blocks for example_id in block.ids],
            np.concatenate([block.images for block in blocks]),
            np.concatenate([block.labels for block in blocks]),
        )


def hash_ids(ids: Iterable[str]) -> np.ndarray:
    """A 64-bit hash of each id, uint64; the same everywhere and for ever.

    It decides an example's split, shard and place, so these depend on nothing else.
    """
    digests = b"".join([hashlib.blake2b(each.encode(), digest_size=8).digest() for each in ids])
    return np.frombuffer(digests, "<u8")

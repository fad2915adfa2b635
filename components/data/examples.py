"""Examples: their definition, and batches of them.

An example is an image (uint8 pixels), a label and an id. It is stored as a tf.Example with three
features: `image` (the raw pixels, row by row), `label` (int64) and `id` (UTF-8). Training therefore
never decodes a compressed image, and `tfds.builder_from_directory` reads a directory of examples.
"""

import dataclasses
import hashlib
from collections.abc import Iterable

import numpy as np

from components.base.shapes import Shape

SPLITS = ("train", "validation", "test")
CHANNELS = (1, 3)  # The numbers of channels that an image can have.


@dataclasses.dataclass(frozen=True)
class ExampleBatch:
    """Examples whose images have the same shape.

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
        """(height, width, channels) of every image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def take(self, rows: np.ndarray) -> "ExampleBatch":
        """The examples with the indices `rows`, in that order, copied."""
        return ExampleBatch([self.ids[row] for row in rows], self.images[rows], self.labels[rows])

    def part(self, start: int, stop: int) -> "ExampleBatch":
        """The examples from `start` to before `stop`, without copying the images."""
        return ExampleBatch(self.ids[start:stop], self.images[start:stop], self.labels[start:stop])

    @staticmethod
    def concatenate(batches: Iterable["ExampleBatch"]) -> "ExampleBatch":
        """The examples of several batches, in order."""
        batches = list(batches)
        return ExampleBatch(
            [example_id for batch in batches for example_id in batch.ids],
            np.concatenate([batch.images for batch in batches]),
            np.concatenate([batch.labels for batch in batches]),
        )


def hash_ids(ids: Iterable[str]) -> np.ndarray:
    """A 64-bit hash of each id, uint64 [N].

    The hash decides the split and the shard of an example and its position there, so it must never
    change and must depend on nothing but the id.
    """
    digests = b"".join(
        [hashlib.blake2b(example_id.encode(), digest_size=8).digest() for example_id in ids]
    )
    return np.frombuffer(digests, "<u8")

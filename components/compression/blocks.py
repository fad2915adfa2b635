"""Blocks of images: the unit that is coded independently, and its batches.

A block is coded in batches that grow. The first batch is small, so that it borrows few bits for its
latents; the bits of the images before pay for the latents of each later batch.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from components.base.arithmetic import ceil_div
from components.base.shapes import Shape

_FIRST_BATCH, _GROWTH = 16, 4
_MOST_LANES, _MOST_BATCH_PIXELS = 512, 1 << 19


@dataclasses.dataclass(frozen=True)
class LabeledImages:
    """Images and their labels.

    Attributes:
      images: uint8, shape [N, height, width, channels].
      labels: int64, shape [N]; 0 where there are no labels.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class CodedBlock:
    """Some images as a message.

    Attributes:
      images: number of images.
      borrowed: number of words that the encoder took from the generator of initial bits.
      states: of the lanes at the end, uint64.
      words: the stack at the end, uint32.
      probe: digest of the networks' outputs for the batch that is decoded first.
      pixels: digest of the images.
    """

    images: int
    borrowed: int
    states: np.ndarray
    words: np.ndarray
    probe: str
    pixels: str


def batch_sizes(count: int, image_shape: Shape) -> list[int]:
    """The numbers of images in the batches of a block of `count` images; part of the format."""
    largest = max(1, min(_MOST_LANES, _MOST_BATCH_PIXELS // math.prod(image_shape[:2])))
    sizes: list[int] = []
    size = min(_FIRST_BATCH, largest)
    while count > size and size < largest:
        sizes.append(size)
        count -= size
        size = min(size * _GROWTH, largest)
    # The rest, in batches of nearly equal sizes: a small one takes nearly as long as a large one.
    rest = ceil_div(count, size)
    return sizes + [(count + number) // rest for number in range(rest)]


def num_lanes(count: int, image_shape: Shape) -> int:
    """The number of lanes that a block of `count` images ends with."""
    return max(batch_sizes(count, image_shape), default=0)


def divide(batches: Iterator[LabeledImages], size: int) -> Iterator[LabeledImages]:
    """Yields images in blocks of `size`; the last block may be smaller."""
    pending: list[LabeledImages] = []
    count = 0
    for batch in batches:
        first = 0
        while first < len(batch.images):
            part = slice(first, first + size - count)
            pending.append(LabeledImages(batch.images[part], batch.labels[part]))
            taken = len(pending[-1].images)
            first, count = first + taken, count + taken
            if count == size:
                yield _joined(pending)
                pending, count = [], 0
    if count:
        yield _joined(pending)


def _joined(parts: Sequence[LabeledImages]) -> LabeledImages:
    return LabeledImages(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )

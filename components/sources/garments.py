"""The built-in source `synthetic_garments`: drawn, so it needs no file and no network."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from components import synthetic
from components.artifacts import Input, fingerprint
from components.examples import Block
from components.sources.base import BLOCK_EXAMPLES, Rejected, Slice, example_id
from components.sources.catalog import GARMENTS

_VERSION = 1  # Raise it whenever the drawing changes, so that older artifacts are told apart.
_SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class GarmentsSource:
    """Garments drawn from a seed.

    Attributes:
      size: number of training images; a sixth as many, rounded up, are the test images.
      seed: of the drawing; the same seed gives the same pixels.
    """

    size: int = 60_000
    seed: int = 0

    @property
    def name(self) -> str:
        return GARMENTS

    @property
    def input(self) -> Input:
        return Input(None, fingerprint([GARMENTS, _VERSION, self.size, self.seed]))

    @property
    def settings(self) -> dict[str, Any]:
        return {"synthetic_size": self.size, "synthetic_seed": self.seed}

    @property
    def class_names(self) -> list[str]:
        return list(synthetic.CLASS_NAMES)

    @property
    def num_examples(self) -> Mapping[str, int]:
        return {"train": self.size, "test": -(-self.size // 6)}

    def slices(self) -> list[Slice]:
        return [
            Slice(split, str(block), first, min(BLOCK_EXAMPLES, size - first))
            for split, size in self.num_examples.items()
            for block, first in enumerate(range(0, size, BLOCK_EXAMPLES))
        ]

    def read(self, part: Slice) -> Iterator[Block | Rejected]:
        indices = np.arange(part.first, part.first + part.examples)
        labels = indices % len(synthetic.CLASS_NAMES)
        # Each block owns its randomness, so that any worker may draw any block.
        seed = np.random.SeedSequence([self.seed, _SPLITS.index(part.split), int(part.name)])
        images = synthetic.draw_garments(labels, np.random.default_rng(seed))
        yield Block([example_id(part.split, int(index)) for index in indices], images, labels)

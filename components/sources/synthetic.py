"""The built-in source `synthetic_garments`: drawn, so it needs no file and no network."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from components.base.artifacts import Input, fingerprint
from components.data.examples import ExampleBatch
from components.ingest import images
from components.ingest.conversion import Conversion
from components.ingest.ledger import Rejected
from components.sources import garments
from components.sources.dataset_names import GARMENTS
from components.sources.source import Slice, UnlistedInputs, example_id

_VERSION = 1  # Raise it whenever the drawing changes, so that older artifacts are told apart.
_SPLITS = ("train", "test")
_DRAWN_AT_ONCE = 1000  # Another number gives other pixels.
_PER_SLICE = 8 * _DRAWN_AT_ONCE


@dataclasses.dataclass(frozen=True)
class SyntheticSource(UnlistedInputs):
    """Garments drawn from a seed.

    Attributes:
      size: number of training images; a sixth as many, rounded up, are the test images.
      seed: of the drawing; the same seed gives the same pixels.
      conversion: what the images are turned into.
    """

    size: int = 60_000
    seed: int = 0
    conversion: Conversion = dataclasses.field(default_factory=Conversion)

    @property
    def name(self) -> str:
        return GARMENTS

    @property
    def input(self) -> Input:
        return Input(None, fingerprint([GARMENTS, _VERSION, self.size, self.seed]))

    @property
    def settings(self) -> dict[str, Any]:
        drawn = {"synthetic_size": self.size, "synthetic_seed": self.seed}
        return drawn | self.conversion.as_json()

    @property
    def class_names(self) -> list[str]:
        return list(garments.CLASS_NAMES)

    @property
    def num_examples(self) -> Mapping[str, int]:
        return {"train": self.size, "test": -(-self.size // 6)}

    def slices(self) -> list[Slice]:
        return [
            Slice(split, "drawn", first, min(_PER_SLICE, size - first))
            for split, size in self.num_examples.items()
            for first in range(0, size, _PER_SLICE)
        ]

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        end = part.first + part.examples
        for first in range(part.first, end, _DRAWN_AT_ONCE):
            indices = np.arange(first, min(first + _DRAWN_AT_ONCE, end))
            labels = indices % len(garments.CLASS_NAMES)
            # What is drawn at once owns its randomness, so that any worker may draw it.
            seed = [self.seed, _SPLITS.index(part.split), first // _DRAWN_AT_ONCE]
            rng = np.random.default_rng(np.random.SeedSequence(seed))
            drawn = images.convert_all(garments.draw_garments(labels, rng), self.conversion)
            yield ExampleBatch([example_id(part.split, int(i)) for i in indices], drawn, labels)

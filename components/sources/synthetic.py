"""The built-in source `synthetic_garments`: drawn images, which need neither files nor network."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from components.base.arithmetic import ceil_div
from components.base.manifest import Input, fingerprint
from components.data.examples import ExampleBatch
from components.ingest.conversion import AS_IS, Conversion
from components.ingest.convert import convert_all
from components.ingest.rejection import Rejected
from components.sources import garments
from components.sources.dataset_names import SYNTHETIC_GARMENTS
from components.sources.source import IndivisibleFingerprint, Slice, example_id

# Part of the fingerprint: increase it whenever the drawn pixels change.
_VERSION = 1
_SPLITS = ("train", "test")
# Images that are drawn from one random generator. Changing this number changes the pixels.
_IMAGES_PER_DRAW = 1000
_IMAGES_PER_SLICE = 8 * _IMAGES_PER_DRAW
_TRAIN_IMAGES_PER_TEST_IMAGE = 6  # as in MNIST and Fashion-MNIST


@dataclasses.dataclass(frozen=True)
class SyntheticSource(IndivisibleFingerprint):
    """Garments that are drawn at random, with the classes of Fashion-MNIST.

    Attributes:
      size: number of training images. There is one test image for every six, rounded up.
      seed: seed of the drawing; the same seed draws the same pixels.
      conversion: size and channels to convert the images to.
    """

    size: int = 60_000
    seed: int = 0
    conversion: Conversion = AS_IS

    @property
    def name(self) -> str:
        return SYNTHETIC_GARMENTS

    @property
    def input(self) -> Input:
        return Input(None, fingerprint([SYNTHETIC_GARMENTS, _VERSION, self.size, self.seed]))

    @property
    def settings(self) -> dict[str, Any]:
        own_settings = {"synthetic_size": self.size, "synthetic_seed": self.seed}
        return own_settings | self.conversion.as_json()

    @property
    def class_names(self) -> list[str]:
        return list(garments.CLASS_NAMES)

    @property
    def num_examples(self) -> Mapping[str, int]:
        return {"train": self.size, "test": ceil_div(self.size, _TRAIN_IMAGES_PER_TEST_IMAGE)}

    def slices(self) -> list[Slice]:
        return [
            Slice(split, "drawn", first, min(_IMAGES_PER_SLICE, size - first))
            for split, size in self.num_examples.items()
            for first in range(0, size, _IMAGES_PER_SLICE)
        ]

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        end = part.first + part.examples
        for first in range(part.first, end, _IMAGES_PER_DRAW):
            indices = np.arange(first, min(first + _IMAGES_PER_DRAW, end))
            labels = indices % len(garments.CLASS_NAMES)
            # A generator per draw, so that the pixels do not depend on which worker draws them.
            seed = [self.seed, _SPLITS.index(part.split), first // _IMAGES_PER_DRAW]
            rng = np.random.default_rng(np.random.SeedSequence(seed))
            pixels = convert_all(garments.draw_garments(labels, rng), self.conversion)
            yield ExampleBatch([example_id(part.split, int(i)) for i in indices], pixels, labels)

"""A prepared dataset as a source: the examples that an earlier run kept, with their ids."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from components.base.manifest import Input
from components.data import codec
from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset
from components.ingest.rejection import Rejected
from components.sources.source import IndivisibleFingerprint, Slice


@dataclasses.dataclass(frozen=True)
class PreparedSource(IndivisibleFingerprint):
    """The output directory of the prepare stage.

    Attributes:
      path: the directory.
      validation_from_train: whether prepare took the validation split from train; this source then
        returns its examples as part of train.
    """

    path: epath.Path
    validation_from_train: bool

    @functools.cached_property
    def _dataset(self) -> PreparedDataset:
        return PreparedDataset.open(self.path)

    @property
    def name(self) -> str:
        return self._dataset.name

    @property
    def input(self) -> Input:
        return self._dataset.artifact.as_input()

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    @property
    def class_names(self) -> list[str]:
        return self._dataset.class_names

    @property
    def num_examples(self) -> Mapping[str, int]:
        counts: Counter[str] = Counter()
        for part in self.slices():
            counts[part.split] += part.examples
        return counts

    def slices(self) -> list[Slice]:
        slices: list[Slice] = []
        counts: Counter[str] = Counter()  # examples in the slices so far, by the source's split
        for split, shards in self._dataset.shards.items():
            is_from_train = split == "validation" and self.validation_from_train
            source_split = "train" if is_from_train else split
            for shard in shards:
                first = counts[source_split]
                slices.append(Slice(source_split, shard.file, first, shard.examples))
                counts[source_split] += shard.examples
        return slices

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        yield from codec.read_batches(
            self.path / part.name,
            self._dataset.image_shape,
            sha256=self._dataset.artifact.output(part.name).sha256,
        )

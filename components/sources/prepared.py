"""What prepare published, as a source: its kept examples, with their own ids."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from components.base.artifacts import Input
from components.data import codec
from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset
from components.ingest.ledger import Rejected
from components.sources.source import Slice, UnlistedInputs


@dataclasses.dataclass(frozen=True)
class PreparedSource(UnlistedInputs):
    """A prepared directory.

    Attributes:
      path: the directory.
      is_validation_cut: whether its validation split was cut out of train; it is train again here.
    """

    path: epath.Path
    is_validation_cut: bool

    @functools.cached_property
    def _set(self) -> PreparedDataset:
        return PreparedDataset.open(self.path)

    @property
    def name(self) -> str:
        return self._set.dataset

    @property
    def input(self) -> Input:
        return self._set.artifact.as_input()

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    @property
    def class_names(self) -> list[str]:
        return self._set.class_names

    @property
    def num_examples(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for part in self.slices():
            counts[part.split] = counts.get(part.split, 0) + part.examples
        return counts

    def slices(self) -> list[Slice]:
        slices: list[Slice] = []
        filled: dict[str, int] = {}
        for split, shards in self._set.shards.items():
            is_cut = split == "validation" and self.is_validation_cut
            source_split = "train" if is_cut else split
            for file, count in shards:
                first = filled.get(source_split, 0)
                slices.append(Slice(source_split, file, first, count))
                filled[source_split] = first + count
        return slices

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        yield from codec.read_batches(self.path / part.name, self._set.image_shape)

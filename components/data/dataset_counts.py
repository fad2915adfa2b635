"""The counts in the manifest of a prepared dataset, as types."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from components.base.shapes import Shape


@dataclasses.dataclass(frozen=True)
class ShardCount:
    """A shard: its file name, and the number of its examples."""

    file: str
    examples: int


@dataclasses.dataclass(frozen=True)
class DuplicateCounts:
    """Images that occur more than once.

    Attributes:
      images: number of distinct images that occur more than once.
      by_splits: the same number by the splits in which they occur, such as `train+test`.
    """

    images: int
    by_splits: dict[str, int]

    @property
    def leaks(self) -> dict[str, int]:
        """The number of images that occur in several splits, by these splits."""
        return {splits: count for splits, count in self.by_splits.items() if "+" in splits}


@dataclasses.dataclass(frozen=True)
class DatasetCounts:
    """The `counts` in the manifest that prepare writes.

    Attributes:
      inputs: number of all inputs, the sum of `kept` and `quarantined`.
      kept: number of inputs that became examples.
      quarantined: number of inputs that are listed in the quarantine.
      ledger: inputs by the source's split and by class, from `components.ingest.ledger.reconcile`.
      image_shape: (height, width, channels) of every image.
      class_names: names of the labels, by label.
      examples: number of examples by split.
      examples_by_label: number of examples by split and label.
      shards: the shards of each split, in order.
      duplicates: images that occur more than once.
      rest: digest of the inputs that are not in the quarantine; `--retry_quarantined` compares it.
    """

    inputs: int
    kept: int
    quarantined: int
    ledger: dict[str, Any]
    image_shape: Shape
    class_names: list[str]
    examples: dict[str, int]
    examples_by_label: dict[str, list[int]]
    shards: dict[str, list[ShardCount]]
    duplicates: DuplicateCounts
    rest: str

    def as_json(self) -> dict[str, Any]:
        """The counts as the JSON value in the manifest."""
        return {**dataclasses.asdict(self), "image_shape": list(self.image_shape)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "DatasetCounts":
        """Converts the JSON value in a manifest to counts."""
        height, width, channels = value["image_shape"]
        parsed = {
            "image_shape": (height, width, channels),
            "shards": {
                split: [ShardCount(**shard) for shard in shards]
                for split, shards in value["shards"].items()
            },
            "duplicates": DuplicateCounts(**value["duplicates"]),
        }
        return DatasetCounts(**{**value, **parsed})

"""The counts in the manifest of a prepared dataset, as types."""

import dataclasses
from collections import Counter
from typing import Any

from components.base.shapes import Shape


@dataclasses.dataclass(frozen=True)
class ShardCount:
    """A shard: its file name, and the number of its examples.

    Raises:
      ValueError: it has no example.
    """

    file: str
    examples: int

    def __post_init__(self) -> None:
        if self.examples < 1:
            raise ValueError(f"the shard {self.file[:80]!r} has {self.examples} examples")


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
      outline: how a folder of images was understood, in a few lines for people; otherwise empty.

    Raises:
      ValueError: a size of the images is not positive.
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
    outline: list[str] = dataclasses.field(default_factory=list)

    @property
    def empty_classes(self) -> list[str]:
        """The classes that inputs have, but no example."""
        kept: Counter[str] = Counter()
        inputs: Counter[str] = Counter()
        for split in self.ledger.values():
            for name, counts in split["classes"].items():
                inputs[name] += counts["inputs"]
                kept[name] += counts["kept"]
        return [name for name in self.class_names if inputs[name] and not kept[name]]

    def __post_init__(self) -> None:
        if min(self.image_shape) < 1:
            raise ValueError(f"counts.image_shape is {list(self.image_shape)}")

    def as_json(self) -> dict[str, Any]:
        """The counts as the JSON value in the manifest."""
        return {**dataclasses.asdict(self), "image_shape": list(self.image_shape)}

"""The tasks of the prepare stage's workers, and what they report: plain values, for any runner."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from components.base.shapes import Shape
from components.ingest.ledger import Account, Rejected
from components.ingest.sorted_runs import SortedRun
from components.ingest.statistics import Statistics
from components.sources.source import Slice


@dataclasses.dataclass(frozen=True)
class ReadTask:
    """A slice to read.

    Attributes:
      number: its place among all slices of this call.
      source: the number of its source.
      part: the slice.
      only: the ids that are wanted of it; None: all.
    """

    number: int
    source: int
    part: Slice
    only: frozenset[str] | None = None

    @property
    def num_inputs(self) -> int:
        """At most: of `only`, some may lie elsewhere."""
        return self.part.examples if self.only is None else len(self.only)


@dataclasses.dataclass(frozen=True)
class ReadReport:
    """What a slice held.

    Attributes:
      number: the slice's.
      split: the source's split.
      inputs: all that were read.
      rejected: of them, those that are no examples; listed in a file of their own.
      runs: where the others lie.
    """

    number: int
    split: str
    inputs: Account
    rejected: Account
    runs: list[SortedRun]

    def as_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "inputs": self.inputs.as_json(),
            "rejected": self.rejected.as_json(),
            "runs": [dataclasses.asdict(run) for run in self.runs],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "ReadReport":
        return ReadReport(
            value["number"],
            value["split"],
            Account.from_json(value["inputs"]),
            Account.from_json(value["rejected"]),
            [SortedRun(**run | {"shape": tuple(run["shape"])}) for run in value["runs"]],
        )


@dataclasses.dataclass(frozen=True)
class WriteTask:
    """A shard to write: a split's examples whose hashes lie in [low, high).

    Attributes:
      split: the shard's.
      source_split: the source's split that its examples come from.
      file: the shard's name.
      low, high: the range.
      examples: how many it will hold.
    """

    split: str
    source_split: str
    file: str
    low: int
    high: int
    examples: int


@dataclasses.dataclass(frozen=True)
class QuarantineTask:
    """A slice of which inputs are set aside.

    Attributes:
      number: the slice's.
      split: the source's split.
      others: its runs of another shape than the common one.
      rejected: its duplicates.
    """

    number: int
    split: str
    others: list[SortedRun]
    rejected: list[Rejected]


@dataclasses.dataclass(frozen=True)
class ShardInputs:
    """What the shards are made of.

    Attributes:
      runs: where the examples lie; all of one shape.
      dropped: rows that are left out, by the run's file.
      num_classes: how many classes there are.
    """

    runs: list[SortedRun]
    dropped: Mapping[str, frozenset[int]]
    num_classes: int

    @property
    def shape(self) -> Shape:
        return self.runs[0].shape


@dataclasses.dataclass(frozen=True)
class WriteReport:
    """What a shard holds.

    Attributes:
      split: the shard's.
      source_split: the source's split that its examples come from.
      file: the shard's name.
      kept: its examples.
      statistics: of its images.
    """

    split: str
    source_split: str
    file: str
    kept: Account
    statistics: Statistics

    @property
    def num_bytes(self) -> int:
        """Of pixels."""
        return int(self.statistics.histogram.sum())

    def as_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "kept": self.kept.as_json(),
            "statistics": self.statistics.as_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "WriteReport":
        return WriteReport(
            value["split"],
            value["source_split"],
            value["file"],
            Account.from_json(value["kept"]),
            Statistics.from_json(value["statistics"]),
        )


@dataclasses.dataclass(frozen=True)
class QuarantineReport:
    """What was set aside of a slice."""

    number: int
    split: str
    quarantined: Account

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "quarantined": self.quarantined.as_json()}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "QuarantineReport":
        account = Account.from_json(value["quarantined"])
        return QuarantineReport(value["number"], value["split"], account)

"""The tasks and the reports of prepare's workers: plain values that any runner can transport.

Tasks are pickled. Reports are JSON values, which workers leave as files.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from components.base.shapes import Shape
from components.ingest.ledger import InputTally
from components.ingest.rejection import Rejected
from components.ingest.sorted_runs import SortedRun
from components.ingest.statistics import Statistics
from components.sources.source import Slice


@dataclasses.dataclass(frozen=True)
class ReadTask:
    """The task of reading one slice of a source.

    Attributes:
      number: number of the slice among all slices that are read.
      source: index of the slice's source.
      part: the slice.
      wanted_ids: ids of the inputs to read; None for all inputs of the slice.
    """

    number: int
    source: int
    part: Slice
    wanted_ids: frozenset[str] | None = None

    @property
    def max_inputs(self) -> int:
        """The largest number of inputs that the task reads.

        It reads fewer if some of the wanted ids are in other slices.
        """
        return self.part.examples if self.wanted_ids is None else len(self.wanted_ids)


@dataclasses.dataclass(frozen=True)
class ReadReport:
    """The result of a ReadTask.

    Attributes:
      number: number of the slice.
      split: the source's split that the slice belongs to.
      inputs: tally of all inputs that were read.
      rejected: tally of the inputs that could not become examples; a file lists them.
      runs: the sorted runs that hold the other inputs.
    """

    number: int
    split: str
    inputs: InputTally
    rejected: InputTally
    runs: list[SortedRun]

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON value."""
        return {
            **vars(self),
            "inputs": self.inputs.as_json(),
            "rejected": self.rejected.as_json(),
            "runs": [dataclasses.asdict(run) for run in self.runs],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "ReadReport":
        """The report that `as_json` converted to a JSON value."""
        return ReadReport(
            value["number"],
            value["split"],
            InputTally.from_json(value["inputs"]),
            InputTally.from_json(value["rejected"]),
            [SortedRun(**run | {"shape": tuple(run["shape"])}) for run in value["runs"]],
        )


@dataclasses.dataclass(frozen=True)
class WriteTask:
    """The task of writing one shard: the examples of a split whose ids' hashes are in [low, high).

    Attributes:
      split: the split that the shard belongs to.
      source_split: the source's split that the examples come from.
      file: name of the shard.
      low: the first hash of the range.
      high: the end of the range; at most 2**64.
      examples: number of examples in the shard.
    """

    split: str
    source_split: str
    file: str
    low: int
    high: int
    examples: int


@dataclasses.dataclass(frozen=True)
class QuarantineTask:
    """The task of listing the inputs of one slice that are in no shard.

    Attributes:
      number: number of the slice.
      split: the source's split that the slice belongs to.
      other_shapes: the slice's sorted runs of images that do not have the dataset's shape.
      duplicates: the slice's examples that were dropped as duplicates.
    """

    number: int
    split: str
    other_shapes: list[SortedRun]
    duplicates: list[Rejected]


@dataclasses.dataclass(frozen=True)
class ShardInputs:
    """The examples that the shards are written from; the same for every task.

    Attributes:
      runs: the sorted runs of images that have the dataset's shape.
      dropped: rows of the runs that are in no shard, by the run's file name.
      num_classes: number of classes.
    """

    runs: list[SortedRun]
    dropped: Mapping[str, frozenset[int]]
    num_classes: int

    @property
    def shape(self) -> Shape:
        """(height, width, channels) of every image in the dataset."""
        return self.runs[0].shape


@dataclasses.dataclass(frozen=True)
class WriteReport:
    """The result of a WriteTask.

    Attributes:
      split: the split that the shard belongs to.
      source_split: the source's split that the examples come from.
      file: name of the shard.
      kept: tally of the shard's examples.
      statistics: statistics of the shard's images and labels.
    """

    split: str
    source_split: str
    file: str
    kept: InputTally
    statistics: Statistics

    @property
    def pixel_bytes(self) -> int:
        """Size of the shard's pixels, in bytes."""
        return int(self.statistics.histogram.sum())

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON value."""
        return {
            **vars(self),
            "kept": self.kept.as_json(),
            "statistics": self.statistics.as_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "WriteReport":
        """The report that `as_json` converted to a JSON value."""
        return WriteReport(
            value["split"],
            value["source_split"],
            value["file"],
            InputTally.from_json(value["kept"]),
            Statistics.from_json(value["statistics"]),
        )


@dataclasses.dataclass(frozen=True)
class QuarantineReport:
    """The result of a QuarantineTask.

    Attributes:
      number: number of the slice.
      split: the source's split that the slice belongs to.
      quarantined: tally of the inputs that were listed.
    """

    number: int
    split: str
    quarantined: InputTally

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON value."""
        return {**vars(self), "quarantined": self.quarantined.as_json()}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "QuarantineReport":
        """The report that `as_json` converted to a JSON value."""
        tally = InputTally.from_json(value["quarantined"])
        return QuarantineReport(value["number"], value["split"], tally)

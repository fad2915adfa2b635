"""The tasks and the reports of prepare's workers: plain values that any runner can transport.

Tasks are pickled; those of reading are in a file, see `pipeline.prepare.listing`. Reports are JSON
values, which workers leave as files.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.base.manifest import OutputRecord
from components.base.shapes import Shape
from components.ingest.ledger import InputTally
from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from components.ingest.statistics import Statistics
from components.sources.source import Slice


@dataclasses.dataclass(frozen=True, slots=True)
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
      first_frames: number of inputs with several frames, of which the first one was read.
    """

    number: int
    split: str
    inputs: InputTally
    rejected: InputTally
    runs: list[SortedRun]
    first_frames: int = 0

    @property
    def num_inputs(self) -> int:
        """Number of inputs that were read."""
        return self.inputs.total

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
            [SortedRun.from_json(run) for run in value["runs"]],
            value["first_frames"],
        )


@dataclasses.dataclass(frozen=True, slots=True)
class SliceSummary:
    """The part of a ReadReport that the driver keeps in memory for each slice.

    Attributes:
      number: number of the slice.
      split: the source's split that the slice belongs to.
      num_inputs: number of inputs that were read.
      rejected: tally of the inputs that could not become examples.
      runs: the sorted runs that hold the other inputs.
    """

    number: int
    split: str
    num_inputs: int
    rejected: InputTally
    runs: Sequence[SortedRun]


@dataclasses.dataclass(frozen=True)
class MergeTask:
    """The task of merging several sorted runs into one.

    Attributes:
      level: number of the level of merges, from 1.
      runs: the runs, of the same split and image shape, in the order of their slices.
    """

    level: int
    runs: tuple[SortedRun, ...]

    @property
    def merged(self) -> SortedRun:
        """The run to write."""
        first = self.runs[0]
        rows = sum(run.rows for run in self.runs)
        # Runs are ordered by their slices and names, and so are these.
        return dataclasses.replace(first, file=f"{first.file}-merged", rows=rows)


@dataclasses.dataclass(frozen=True)
class RangeTask:
    """The task of comparing or counting the examples of one of several equal ranges of hashes.

    Attributes:
      number: number of the range.
      ranges: number of ranges.
    """

    number: int
    ranges: int

    @property
    def hash_range(self) -> tuple[int, int]:
        """The first hash of the range, and its end; at most 2**64."""
        low, high = (NUM_HASHES * n // self.ranges for n in (self.number, self.number + 1))
        return low, high


@dataclasses.dataclass(frozen=True)
class RangeReport:
    """The result of comparing the ids, or the pixels, of the examples of a range.

    Attributes:
      number: number of the range.
      kept: number of examples of each split that were not dropped.
      rejected: tally of the dropped examples, by the source's split; a file lists them.
      duplicates: number of images that occur more than once, by the splits that they occur in,
        such as `train+test`; a file lists them.
      first: up to three inputs of the first group with the same pixels; empty if there is none.
    """

    number: int
    kept: dict[str, int]
    rejected: dict[str, InputTally]
    duplicates: dict[str, int]
    first: list[dict[str, str]]

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON value."""
        rejected = {split: tally.as_json() for split, tally in self.rejected.items()}
        return {**vars(self), "rejected": rejected}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "RangeReport":
        """The report that `as_json` converted to a JSON value."""
        rejected = {
            split: InputTally.from_json(tally) for split, tally in value["rejected"].items()
        }
        return RangeReport(**{**value, "rejected": rejected})


@dataclasses.dataclass(frozen=True)
class CountReport:
    """The number of examples of a range in the shards.

    Attributes:
      number: number of the range.
      counts: for each split, the index of a shard, and the number of examples in it and in those
        that follow it; all other shards have none.
    """

    number: int
    counts: list[tuple[int, list[int]]]

    @staticmethod
    def of(number: int, counts: Sequence[np.ndarray]) -> "CountReport":
        """The report of the number of examples in all shards of each split."""
        present = []
        for totals in counts:
            (found,) = np.nonzero(totals)
            first, end = (found[0], found[-1] + 1) if len(found) else (0, 0)
            present.append((int(first), totals[first:end].tolist()))
        return CountReport(number, present)

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON value."""
        return vars(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "CountReport":
        """The report that `as_json` converted to a JSON value."""
        return CountReport(value["number"], [(first, rest) for first, rest in value["counts"]])


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
    """The task of listing the inputs of one slice that cannot be in a shard.

    Attributes:
      number: number of the slice.
      split: the source's split that the slice belongs to.
      other_shapes: the slice's sorted runs of images that do not have the dataset's shape.
    """

    number: int
    split: str
    other_shapes: list[SortedRun]


@dataclasses.dataclass(frozen=True)
class ShardFormat:
    """The format that all shards share; every task gets the same one.

    Attributes:
      shape: (height, width, channels) of every image in the dataset.
      num_classes: number of classes.
      ranges: the number of ranges in which duplicates were searched for.
    """

    shape: Shape
    num_classes: int
    ranges: int


@dataclasses.dataclass(frozen=True)
class WriteReport:
    """The result of a WriteTask.

    Attributes:
      split: the split that the shard belongs to.
      source_split: the source's split that the examples come from.
      file: name of the shard.
      kept: tally of the shard's examples.
      statistics: statistics of the shard's images and labels.
      output: size and digest of the file.
    """

    split: str
    source_split: str
    file: str
    kept: InputTally
    statistics: Statistics
    output: OutputRecord

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
            "output": dataclasses.asdict(self.output),
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
            OutputRecord(**value["output"]),
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

"""A source of examples in memory, and its way through the workers."""

import dataclasses
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from components.base import json_lines
from components.base.manifest import Input
from components.data.examples import ExampleBatch, hash_ids
from components.ingest.ledger import InputTally
from components.ingest.rejection import Reason, Rejected
from components.ingest.sorted_runs import NUM_HASHES, SortedRun
from components.sources.source import Slice
from pipeline.prepare import (
    deduplication,
    dropped_rows,
    execution,
    listing,
    reports,
    shard_plan,
    workers,
)
from pipeline.prepare.assignment import Assignment
from pipeline.prepare.messages import ReadReport, ReadTask
from pipeline.prepare.shard_plan import ShardPlan

SHAPE = (6, 5, 1)
IMAGE_BYTES = 30
Item = tuple[str, np.ndarray, int] | Rejected


@dataclasses.dataclass
class ListedSource:
    """A source whose inputs are in lists.

    Attributes:
      items: the inputs, by split.
      per_slice: number of inputs per slice.
      per_batch: largest number of examples per batch; a batch also ends where the shape changes.
    """

    items: dict[str, list[Item]]
    per_slice: int = 100
    per_batch: int = 30

    name = "cats"
    class_names = ("A", "B", "C")
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def input(self) -> Input:
        return Input(None, "fingerprint")

    @property
    def num_examples(self) -> dict[str, int]:
        return {split: len(items) for split, items in self.items.items()}

    def fingerprint_without(self, ids: Collection[str]) -> str:
        return f"without {sorted(ids)}"

    def slices(self) -> list[Slice]:
        return [
            Slice(split, "listed", first, min(self.per_slice, len(items) - first))
            for split, items in self.items.items()
            for first in range(0, len(items), self.per_slice)
        ]

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        batch: list[tuple[str, np.ndarray, int]] = []
        for item in [*self.items[part.split][part.first : part.first + part.examples], None]:
            is_example = isinstance(item, tuple)
            if batch and (
                not is_example or len(batch) == self.per_batch or item[1].shape != batch[0][1].shape
            ):
                ids, images, labels = zip(*batch, strict=True)
                yield ExampleBatch(list(ids), np.stack(images), np.array(labels, np.int64))
                batch = []
            if is_example:
                batch.append(item)
            elif item is not None:
                yield item


def examples(count: int, *, split: str = "train", shape=SHAPE, seed: int = 0) -> list[Item]:
    """Examples with random pixels, and the labels 0, 1 and 2 in turn."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    return [(f"{split}-{n:08d}", image, n % 3) for n, image in enumerate(images)]


def tally_of(items: list[Item], reason: Reason | None = None) -> InputTally:
    """The tally of some inputs."""
    tally = InputTally()
    ids = [item.id if isinstance(item, Rejected) else item[0] for item in items]
    labels = [item.label if isinstance(item, Rejected) else item[2] for item in items]
    tally.add(hash_ids(ids), labels, reason=reason)
    return tally


def create_work_directory(directory: Path) -> Path:
    """Creates the folders for reports in a directory."""
    execution.open_work(epath.Path(directory))
    return directory


def read_all(source: ListedSource, directory: Path) -> list[ReadReport]:
    """Reads every slice of a source, as a runner does; returns the workers' reports."""
    create_work_directory(directory)
    for number, part in enumerate(source.slices()):
        workers.read_slice(ReadTask(number, 0, part), [source], directory)
    return load_reports(directory / workers.READ, ReadReport)


def load_reports(directory: Path, report_class) -> list:
    """The workers' reports in a directory."""
    return reports.load_all(epath.Path(directory), report_class.from_json)


def plan_runs(
    runs: Sequence[SortedRun],
    directory: Path,
    *,
    fraction: float = 0.0,
    shard_bytes: int = 1 << 20,
    drop_duplicates: bool = False,
) -> ShardPlan:
    """Plans the shards of runs, whatever earlier plans have left in the directory."""
    for name in (deduplication.IDS, deduplication.PIXELS, deduplication.COUNTS):
        shutil.rmtree(directory / name, ignore_errors=True)
    return shard_plan.plan_shards(
        runs,
        epath.Path(directory),
        assignment=Assignment(fraction, shard_bytes),
        drop_duplicates=drop_duplicates,
        dataset="cats",
    )


def rejected_examples(plan: ShardPlan, directory: Path) -> list[Rejected]:
    """The examples that a plan leaves out, from the lists of the workers."""
    paths = deduplication.rejected_files(plan.ranges, epath.Path(directory))
    return [Rejected(**row) for path in paths for row in json_lines.read(path)]


def listed_duplicates(plan: ShardPlan, directory: Path) -> list[list[dict[str, str]]]:
    """The groups of examples with the same pixels, as they are published."""
    path = epath.Path(directory) / "duplicates.jsonl"
    deduplication.write_groups(path, plan.ranges, epath.Path(directory))
    return list(json_lines.read(path))


def dropped_by_file(
    plan: ShardPlan, directory: Path, hash_range: tuple[int, int] = (0, NUM_HASHES)
) -> dict[str, frozenset[int]]:
    """The rows of the runs that are in no shard, as the writers of shards read them."""
    work_dir = epath.Path(directory)
    paths = deduplication.dropped_files(plan.ranges, work_dir)
    return dropped_rows.by_file(hash_range, paths, listing.read_runs(work_dir))

"""What the workers of the prepare stage do: a slice to sorted runs, a range of runs to a shard.

None of it knows Beam: the same functions run on a Beam worker and in a process beside it. What a
worker found is left as a report, a small JSON file, so that the work of any runner can be followed
while it goes on, and added up at the end.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from components import artifacts, runs, wire
from components.examples import Block, Shape, hashes_of, shape_text
from components.ledger import Account, Reason, Rejected
from components.runs import Run
from components.sources.base import Slice, Source
from components.statistics import Statistics

READ = "read"
WRITTEN = "written"
QUARANTINED = "quarantined"

_RUN_BYTES = 32 << 20
_GATHERED_BYTES = 16 << 20
_MOST_OPEN = 256
_WRITTEN_BYTES = 512 << 10  # At a time: what fits the caches is written fastest.


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
    runs: list[Run]

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
            [Run(**run | {"shape": tuple(run["shape"])}) for run in value["runs"]],
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
    others: list[Run]
    rejected: list[Rejected]


@dataclasses.dataclass(frozen=True)
class Material:
    """What the shards are made of.

    Attributes:
      runs: where the examples lie; all of one shape.
      dropped: rows that are left out, by the run's file.
      num_classes: how many classes there are.
    """

    runs: list[Run]
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


def read_slice(task: ReadTask, sources: Sequence[Source], work: epath.Path) -> dict[str, int]:
    """Reads a slice into runs in `work`, and reports; returns what is counted.

    Raises:
      WorkError: the source is damaged.
    """
    split = task.part.split
    report = ReadReport(task.number, split, Account(), Account(), [])
    rejections: list[Rejected] = []
    pending: dict[Shape, list[Block]] = collections.defaultdict(list)
    held = 0  # bytes of pixels in `pending`

    def write_run(shape: Shape) -> None:
        block = Block.concatenate(pending.pop(shape))
        name = f"{task.number:06d}-{len(report.runs):03d}"
        run = Run(name, task.number, split, shape, len(block))
        hashes = hashes_of(block.ids)
        runs.write(work / run.file, block, hashes)
        report.inputs.add(hashes, block.labels.tolist())
        report.runs.append(run)

    for item in sources[task.source].read(task.part):
        if isinstance(item, Rejected):
            if task.only is None or item.id in task.only:
                rejections.append(item)
                hashes = hashes_of([item.id])
                report.inputs.add(hashes, [item.label])
                report.rejected.add(hashes, [item.label], reason=item.reason)
            continue
        block = item if task.only is None else _wanted(item, task.only)
        if not len(block):
            continue
        pending[block.shape].append(block)
        held += block.images.nbytes
        if held >= _RUN_BYTES:
            for shape in list(pending):
                write_run(shape)
            held = 0
    for shape in list(pending):
        write_run(shape)
    # Even if there are none: what an attempt that failed has left must not stand.
    write_lines(work / _rejected_file(task.number), map(dataclasses.asdict, rejections))
    write_lines(work / READ / f"{task.number:06d}.json", [report.as_json()])
    return {"read": report.inputs.total}


def write(
    task: WriteTask | QuarantineTask, material: Material, work: epath.Path, directory: epath.Path
) -> dict[str, int]:
    """Writes a shard to `directory`, or a slice's part of the quarantine; what is counted."""
    if isinstance(task, QuarantineTask):
        quarantined = set_aside(task, material, work).quarantined
        return {f"quarantined_{reason}": n for reason, n in quarantined.by_reason.items()}
    report = write_shard(task, material, work, directory)
    return {"kept": report.kept.total, "bytes": report.num_bytes}


def write_shard(
    task: WriteTask, material: Material, work: epath.Path, directory: epath.Path
) -> WriteReport:
    """Gathers a shard from the runs in `work`, writes it whole to `directory`, and reports."""
    kept = Account()
    counted = Statistics.empty(material.shape[-1], material.num_classes)
    step = max(1, _WRITTEN_BYTES // math.prod(material.shape))
    with (
        artifacts.written_whole(directory / task.file) as temporary,
        temporary.open("wb") as file,
    ):
        for hashes, block in _gather(task, material, work):
            for start in range(0, len(block), step):
                file.write(wire.encode(block.part(start, start + step)))
            counted.add(block.images, block.labels)
            kept.add(hashes, block.labels.tolist())
    report = WriteReport(task.split, task.source_split, task.file, kept, counted)
    write_lines(work / WRITTEN / f"{task.file}.json", [report.as_json()])
    return report


def _gather(
    task: WriteTask, material: Material, work: epath.Path
) -> Iterator[tuple[np.ndarray, Block]]:
    """A shard's hashes and examples, in order, some megabytes at a time."""
    pieces = max(1, -(-task.examples * math.prod(material.shape) // _GATHERED_BYTES))
    bounds = [task.low + (task.high - task.low) * piece // pieces for piece in range(pieces + 1)]
    members = [run for run in material.runs if run.split == task.source_split]
    with contextlib.ExitStack() as stack:
        # Opening one takes longer than reading some rows of it; but files are not without number.
        opened = [stack.enter_context(runs.opened(work / r.file)) for r in members[:_MOST_OPEN]]
        for low, high in itertools.pairwise(bounds):
            parts = [run.read(material.shape, low, high) for run in opened]
            parts += [
                runs.read(work / run.file, material.shape, low, high)
                for run in members[_MOST_OPEN:]
            ]
            stay = [
                rows.without(material.dropped.get(run.file, frozenset()))
                for run, rows in zip(members, parts, strict=True)
            ]
            hashes = np.concatenate([rows.hashes for rows in stay])
            block = Block.concatenate(rows.block for rows in stay)
            order = runs.order_of(hashes, block.ids)
            if len(order):
                yield hashes[order], block.take(order)


def set_aside(task: QuarantineTask, material: Material, work: epath.Path) -> QuarantineReport:
    """Lists all of a slice's inputs that are no examples, and reports."""
    account = Account()

    def rows() -> Iterator[dict[str, Any]]:
        for item in _all_rejected(task, material, work):
            account.add(hashes_of([item.id]), [item.label], reason=item.reason)
            yield dataclasses.asdict(item)

    write_lines(work / QUARANTINED / f"{task.number:06d}.jsonl", rows())
    report = QuarantineReport(task.number, task.split, account)
    write_lines(work / QUARANTINED / f"{task.number:06d}.json", [report.as_json()])
    return report


def _all_rejected(task: QuarantineTask, material: Material, work: epath.Path) -> Iterator[Rejected]:
    yield from rejected(task.number, work)
    wanted = shape_text(material.shape)
    for run in task.others:
        detail = f"{shape_text(run.shape)}, most others are {wanted}"
        for example_id, label in zip(*runs.id_and_label_columns(work / run.file), strict=True):
            yield Rejected(example_id, run.split, int(label), Reason.WRONG_SHAPE, detail)
    yield from task.rejected


def rejected(number: int, work: epath.Path) -> Iterator[Rejected]:
    """The inputs of a slice that reading rejected."""
    for row in read_lines(work / _rejected_file(number)):
        yield Rejected(**row)


def _rejected_file(number: int) -> str:
    return f"{number:06d}-rejected.jsonl"


def write_lines(path: epath.Path, rows: Iterable[Any]) -> None:
    """Writes JSON values, one a line; whole, or not at all."""
    with artifacts.written_whole(path) as temporary, temporary.open("wb") as file:
        file.write(b"")  # TensorFlow makes no file where nothing is written.
        for row in rows:
            file.write(f"{json.dumps(row, ensure_ascii=False)}\n".encode())


def read_lines(path: epath.Path) -> Iterator[Any]:
    """What `write_lines` wrote."""
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


def _wanted(block: Block, only: frozenset[str]) -> Block:
    return block.take(np.array([n for n, each in enumerate(block.ids) if each in only], np.int64))

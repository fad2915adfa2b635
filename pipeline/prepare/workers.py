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
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base import artifacts
from components.base.shapes import Shape, format_shape
from components.data import codec
from components.data.examples import ExampleBatch, hash_ids
from components.ingest import sorted_runs
from components.ingest.ledger import Account, Reason, Rejected
from components.ingest.sorted_runs import Rows, SortedRun
from components.ingest.statistics import Statistics
from components.sources.source import Source
from pipeline.prepare.messages import (
    QuarantineReport,
    QuarantineTask,
    ReadReport,
    ReadTask,
    ShardInputs,
    WriteReport,
    WriteTask,
)

READ = "read"
WRITTEN = "written"
QUARANTINED = "quarantined"

_RUN_BYTES = 32 << 20
_GATHERED_BYTES = 8 << 20
_MOST_OPEN = 256
_WRITTEN_BYTES = 512 << 10  # At a time: what fits the caches is written fastest.


def read_slice(task: ReadTask, sources: Sequence[Source], scratch: epath.Path) -> dict[str, int]:
    """Reads a slice into runs in `scratch`, and reports; returns what is counted.

    Raises:
      WorkError: the source is damaged.
    """
    split = task.part.split
    report = ReadReport(task.number, split, Account(), Account(), [])
    rejections: list[Rejected] = []
    pending: dict[Shape, list[ExampleBatch]] = collections.defaultdict(list)
    held = 0  # bytes of pixels in `pending`

    def write_run(shape: Shape) -> None:
        block = ExampleBatch.concatenate(pending.pop(shape))
        name = f"{task.number:06d}-{len(report.runs):03d}"
        run = SortedRun(name, task.number, split, shape, len(block))
        hashes = hash_ids(block.ids)
        sorted_runs.write(scratch / run.file, block, hashes)
        report.inputs.add(hashes, block.labels.tolist())
        report.runs.append(run)

    for item in sources[task.source].read(task.part):
        if isinstance(item, Rejected):
            if task.only is None or item.id in task.only:
                rejections.append(item)
                hashes = hash_ids([item.id])
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
    write_lines(scratch / _rejected_file(task.number), map(dataclasses.asdict, rejections))
    write_lines(scratch / READ / f"{task.number:06d}.json", [report.as_json()])
    return {"read": report.inputs.total}


def write(
    task: WriteTask | QuarantineTask,
    material: ShardInputs,
    scratch: epath.Path,
    directory: epath.Path,
) -> dict[str, int]:
    """Writes a shard to `directory`, or a slice's part of the quarantine; what is counted."""
    if isinstance(task, QuarantineTask):
        quarantined = set_aside(task, material, scratch).quarantined
        return {f"quarantined_{reason}": n for reason, n in quarantined.by_reason.items()}
    report = write_shard(task, material, scratch, directory)
    return {"kept": report.kept.total, "bytes": report.num_bytes}


def write_shard(
    task: WriteTask, material: ShardInputs, scratch: epath.Path, directory: epath.Path
) -> WriteReport:
    """Gathers a shard from the runs in `scratch`, writes it whole to `directory`, and reports."""
    kept = Account()
    counted = Statistics.empty(material.shape[-1], material.num_classes)
    step = max(1, _WRITTEN_BYTES // math.prod(material.shape))
    with (
        artifacts.atomic_write(directory / task.file) as temporary,
        temporary.open("wb") as file,
    ):
        for hashes, block in _gather(task, material, scratch):
            for start in range(0, len(block), step):
                file.write(codec.encode(block.part(start, start + step)))
            counted.add(block.images, block.labels)
            kept.add(hashes, block.labels.tolist())
    report = WriteReport(task.split, task.source_split, task.file, kept, counted)
    write_lines(scratch / WRITTEN / f"{task.file}.json", [report.as_json()])
    return report


def _gather(
    task: WriteTask, material: ShardInputs, scratch: epath.Path
) -> Iterator[tuple[np.ndarray, ExampleBatch]]:
    """A shard's hashes and examples, in order, some megabytes at a time."""
    pieces = max(1, -(-task.examples * math.prod(material.shape) // _GATHERED_BYTES))
    bounds = [task.low + (task.high - task.low) * piece // pieces for piece in range(pieces + 1)]
    members = [run for run in material.runs if run.split == task.source_split]
    with contextlib.ExitStack() as stack:
        # Opening one takes longer than reading some rows of it; but files are not without number.
        opened = [
            stack.enter_context(sorted_runs.opened(scratch / r.file)) for r in members[:_MOST_OPEN]
        ]
        for low, high in itertools.pairwise(bounds):
            parts = [run.read(material.shape, low, high) for run in opened]
            parts += [
                sorted_runs.read(scratch / run.file, material.shape, low, high)
                for run in members[_MOST_OPEN:]
            ]
            for place, run in enumerate(members):
                dropped = material.dropped.get(run.file, frozenset())
                parts[place] = parts[place].without(dropped)
            hashes, block = _merge(parts)
            if len(block):
                yield hashes, block


def _merge(parts: list[Rows]) -> tuple[np.ndarray, ExampleBatch]:
    """The hashes and examples of parts of runs, in order. Empties the list: copies are large."""
    hashes = np.concatenate([rows.hashes for rows in parts])
    block = ExampleBatch.concatenate(rows.block for rows in parts)
    parts.clear()
    order = sorted_runs.order_of(hashes, block.ids)
    return hashes[order], block.take(order)


def set_aside(task: QuarantineTask, material: ShardInputs, scratch: epath.Path) -> QuarantineReport:
    """Lists all of a slice's inputs that are no examples, and reports."""
    account = Account()

    def rows() -> Iterator[dict[str, Any]]:
        for item in _all_rejected(task, material, scratch):
            account.add(hash_ids([item.id]), [item.label], reason=item.reason)
            yield dataclasses.asdict(item)

    write_lines(scratch / QUARANTINED / f"{task.number:06d}.jsonl", rows())
    report = QuarantineReport(task.number, task.split, account)
    write_lines(scratch / QUARANTINED / f"{task.number:06d}.json", [report.as_json()])
    return report


def _all_rejected(
    task: QuarantineTask, material: ShardInputs, scratch: epath.Path
) -> Iterator[Rejected]:
    yield from rejected(task.number, scratch)
    wanted = format_shape(material.shape)
    for run in task.others:
        detail = f"{format_shape(run.shape)}, most others are {wanted}"
        for example_id, label in zip(
            *sorted_runs.id_and_label_columns(scratch / run.file), strict=True
        ):
            yield Rejected(example_id, run.split, int(label), Reason.WRONG_SHAPE, detail)
    yield from task.rejected


def rejected(number: int, scratch: epath.Path) -> Iterator[Rejected]:
    """The inputs of a slice that reading rejected."""
    for row in read_lines(scratch / _rejected_file(number)):
        yield Rejected(**row)


def _rejected_file(number: int) -> str:
    return f"{number:06d}-rejected.jsonl"


def write_lines(path: epath.Path, rows: Iterable[Any]) -> None:
    """Writes JSON values, one a line; whole, or not at all."""
    with artifacts.atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(b"")  # TensorFlow makes no file where nothing is written.
        for row in rows:
            file.write(f"{json.dumps(row, ensure_ascii=False)}\n".encode())


def read_lines(path: epath.Path) -> Iterator[Any]:
    """What `write_lines` wrote."""
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


def _wanted(block: ExampleBatch, only: frozenset[str]) -> ExampleBatch:
    return block.take(np.array([n for n, each in enumerate(block.ids) if each in only], np.int64))

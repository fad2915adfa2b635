"""The functions that prepare's workers run: read a slice, write a shard, list quarantined inputs.

They do not depend on Beam: the same functions run on a Beam worker and in a local process pool.
Each task leaves its result as a report, a small JSON file in the work directory. So progress can be
followed and results can be collected in the same way on every runner.

A task may run several times, since runners retry tasks. Every file is written atomically, and a
second run overwrites the files of the first one with the same content.
"""

import collections
import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base import artifacts, json_lines
from components.base.arithmetic import ceil_div
from components.base.shapes import Shape, format_shape
from components.data import codec
from components.data.examples import ExampleBatch, hash_ids
from components.ingest import sorted_runs
from components.ingest.ledger import InputTally
from components.ingest.rejection import Reason, Rejected
from components.ingest.sorted_runs import RunRange, SortedRun
from components.ingest.statistics import Statistics
from components.sources.source import FirstFrames, Source
from pipeline.prepare.messages import (
    QuarantineReport,
    QuarantineTask,
    ReadReport,
    ReadTask,
    ShardInputs,
    WriteReport,
    WriteTask,
)

# The folders of the work directory that hold the reports.
READ = "read"
WRITTEN = "written"
QUARANTINED = "quarantined"

FIRST_FRAMES = "first_frames"  # a counter

_RUN_BYTES = 32 << 20  # Pixels that a worker holds before it writes them as sorted runs.
_MERGED_BYTES = 8 << 20  # Pixels that a worker merges at once.
_ENCODED_BYTES = 512 << 10  # Pixels that are encoded at once: fastest where they fit the caches.
_MAX_OPEN_RUNS = 256


def read_slice(task: ReadTask, sources: Sequence[Source], work_dir: epath.Path) -> dict[str, int]:
    """Reads a slice of a source into sorted runs, and writes a report.

    Args:
      task: the slice.
      sources: the sources, one of which the slice belongs to.
      work_dir: directory to write the runs, the rejected inputs and the report to.

    Returns:
      The counter `read`, and `first_frames` if files hold several frames.

    Raises:
      WorkError: the source is damaged.
    """
    split = task.part.split
    report = ReadReport(task.number, split, InputTally(), InputTally(), [])
    rejected: list[Rejected] = []
    pending: dict[Shape, list[ExampleBatch]] = collections.defaultdict(list)
    pending_bytes = 0
    first_frames = 0

    def write_runs() -> None:
        # One run per shape: a run is an Arrow file with columns of fixed width.
        for shape in list(pending):
            # Popped, so that the batches are freed before the examples are sorted into a copy.
            examples = ExampleBatch.concatenate(pending.pop(shape))
            file = f"{task.number:06d}-{len(report.runs):03d}"
            hashes = hash_ids(examples.ids)
            sorted_runs.write(work_dir / file, examples, hashes)
            report.inputs.add(hashes, examples.labels.tolist())
            report.runs.append(SortedRun(file, task.number, split, shape, len(examples)))

    for item in _wanted(sources[task.source].read(task.part), task.wanted_ids):
        if isinstance(item, Rejected):
            rejected.append(item)
            hashes = hash_ids([item.id])
            report.inputs.add(hashes, [item.label])
            report.rejected.add(hashes, [item.label], reason=item.reason)
            continue
        if isinstance(item, FirstFrames):
            first_frames += len(item.several_frames)
        pending[item.shape].append(item)
        pending_bytes += item.images.nbytes
        if pending_bytes >= _RUN_BYTES:
            write_runs()
            pending_bytes = 0
    write_runs()
    # Written even if it is empty: an earlier attempt at this task may have left another list.
    json_lines.write(work_dir / _rejected_file(task.number), map(dataclasses.asdict, rejected))
    json_lines.write(work_dir / READ / f"{task.number:06d}.json", [report.as_json()])
    frames = {FIRST_FRAMES: first_frames} if first_frames else {}
    return {"read": report.inputs.total, **frames}


def _wanted(
    items: Iterator[ExampleBatch | Rejected], wanted_ids: frozenset[str] | None
) -> Iterator[ExampleBatch | Rejected]:
    """The items of a source with only the wanted ids; with all ids if `wanted_ids` is None."""
    if wanted_ids is None:
        yield from items
        return
    for item in items:
        if isinstance(item, Rejected):
            if item.id in wanted_ids:
                yield item
            continue
        rows = [row for row, example_id in enumerate(item.ids) if example_id in wanted_ids]
        if rows:
            yield item.take(np.array(rows, np.int64))


def write(
    task: WriteTask | QuarantineTask,
    inputs: ShardInputs,
    work_dir: epath.Path,
    directory: epath.Path,
) -> dict[str, int]:
    """Writes a shard or a slice's part of the quarantine, and a report.

    Args:
      task: the shard or the slice.
      inputs: the examples that the shards are written from.
      work_dir: directory of the sorted runs and the reports.
      directory: directory to write shards to.

    Returns:
      The counters `kept` and `bytes` of a shard; a counter `quarantined_REASON` for each reason.
    """
    if isinstance(task, QuarantineTask):
        quarantined = write_quarantine(task, inputs, work_dir).quarantined
        return {f"quarantined_{reason}": n for reason, n in quarantined.by_reason.items()}
    report = write_shard(task, inputs, work_dir, directory)
    return {"kept": report.kept.total, "bytes": report.pixel_bytes}


def write_shard(
    task: WriteTask, inputs: ShardInputs, work_dir: epath.Path, directory: epath.Path
) -> WriteReport:
    """Merges a range of hashes from the sorted runs into a shard, and writes a report."""
    kept = InputTally()
    statistics = Statistics.empty(inputs.shape[-1], inputs.num_classes)
    step = max(1, _ENCODED_BYTES // math.prod(inputs.shape))
    with (
        artifacts.atomic_write(directory / task.file) as temporary,
        temporary.open("wb") as file,
    ):
        for hashes, examples in _merged(task, inputs, work_dir):
            for start in range(0, len(examples), step):
                file.write(codec.encode(examples.part(start, start + step)))
            statistics.add(examples.images, examples.labels)
            kept.add(hashes, examples.labels.tolist())
    report = WriteReport(task.split, task.source_split, task.file, kept, statistics)
    json_lines.write(work_dir / WRITTEN / f"{task.file}.json", [report.as_json()])
    return report


def _merged(
    task: WriteTask, inputs: ShardInputs, work_dir: epath.Path
) -> Iterator[tuple[np.ndarray, ExampleBatch]]:
    """Yields a shard's hashes and examples in ascending order, about `_MERGED_BYTES` at a time.

    The range of hashes is cut into equal parts. Hashes are uniform, so that the parts are about
    equally large.
    """
    num_parts = max(1, ceil_div(task.examples * math.prod(inputs.shape), _MERGED_BYTES))
    width = task.high - task.low
    bounds = [task.low + width * part // num_parts for part in range(num_parts + 1)]
    runs = [run for run in inputs.runs if run.split == task.source_split]
    with contextlib.ExitStack() as stack:
        # Opening a run takes longer than reading some rows of it, so runs stay open. Their number
        # is limited, since a process may have about a thousand open files.
        readers = [
            stack.enter_context(sorted_runs.open_run(work_dir / run.file))
            for run in runs[:_MAX_OPEN_RUNS]
        ]
        for low, high in itertools.pairwise(bounds):
            ranges = [reader.read(inputs.shape, low, high) for reader in readers]
            ranges += [
                sorted_runs.read(work_dir / run.file, inputs.shape, low, high)
                for run in runs[_MAX_OPEN_RUNS:]
            ]
            for number, run in enumerate(runs):
                dropped = inputs.dropped.get(run.file, frozenset())
                ranges[number] = ranges[number].without(dropped)
            hashes, examples = _merge(ranges)
            if len(examples):
                yield hashes, examples


def _merge(ranges: list[RunRange]) -> tuple[np.ndarray, ExampleBatch]:
    """The hashes and examples of several ranges in ascending order.

    Empties the list, so that the ranges are freed before the examples are sorted into a copy.
    """
    hashes = np.concatenate([part.hashes for part in ranges])
    examples = ExampleBatch.concatenate(part.examples for part in ranges)
    ranges.clear()
    order = sorted_runs.sort_order(hashes, examples.ids)
    return hashes[order], examples.take(order)


def write_quarantine(
    task: QuarantineTask, inputs: ShardInputs, work_dir: epath.Path
) -> QuarantineReport:
    """Lists the inputs of a slice that are in no shard, and writes a report."""
    tally = InputTally()

    def rows() -> Iterator[dict[str, Any]]:
        for item in _quarantined_inputs(task, inputs.shape, work_dir):
            tally.add(hash_ids([item.id]), [item.label], reason=item.reason)
            yield dataclasses.asdict(item)

    json_lines.write(quarantine_file(task.number, work_dir), rows())
    report = QuarantineReport(task.number, task.split, tally)
    json_lines.write(work_dir / QUARANTINED / f"{task.number:06d}.json", [report.as_json()])
    return report


def _quarantined_inputs(
    task: QuarantineTask, shape: Shape, work_dir: epath.Path
) -> Iterator[Rejected]:
    yield from rejected_inputs(task.number, work_dir)
    for run in task.other_shapes:
        detail = f"{format_shape(run.shape)}, most others are {format_shape(shape)}"
        ids, labels = sorted_runs.id_and_label_columns(work_dir / run.file)
        for example_id, label in zip(ids, labels.tolist(), strict=True):
            yield Rejected(example_id, run.split, label, Reason.WRONG_SHAPE, detail)
    yield from task.duplicates


def rejected_inputs(number: int, work_dir: epath.Path) -> Iterator[Rejected]:
    """Yields the inputs that were rejected when a slice was read."""
    for row in json_lines.read(work_dir / _rejected_file(number)):
        yield Rejected(**row)


def quarantine_file(number: int, work_dir: epath.Path) -> epath.Path:
    """The file that lists the inputs of a slice that are in no shard."""
    return work_dir / QUARANTINED / f"{number:06d}.jsonl"


def _rejected_file(number: int) -> str:
    return f"{number:06d}-rejected.jsonl"

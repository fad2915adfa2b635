"""The functions that prepare's workers run: read a slice, merge sorted runs, write a shard.

They do not depend on Beam: the same functions run on a Beam worker and in a local process pool.
Each task writes its result as a report, a small JSON file in the work directory. So progress is
shown and results are collected in the same way on every runner.

A task may run several times, since runners retry tasks and an interrupted stage is started again.
Every file is written atomically, and the report last. A task whose report exists returns at once,
unless a failure of the machine has damaged its files.
"""

import collections
import dataclasses
import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
from etils import epath

from components.base import artifacts, files
from components.base.errors import WorkError
from components.base.manifest import OutputRecord
from components.base.shapes import Shape
from components.data import codec
from components.data.examples import ExampleBatch, hash_ids
from components.ingest import sorted_runs
from components.ingest.ledger import InputTally
from components.ingest.rejection import Rejected
from components.ingest.run_file import new_run
from components.ingest.sorted_runs import SortedRun
from components.ingest.statistics import Statistics
from components.sources.source import FirstFrames, Source
from pipeline.prepare import deduplication, dropped_rows, listing, rejections, reports
from pipeline.prepare.messages import (
    MergeTask,
    QuarantineTask,
    ReadReport,
    ReadTask,
    ShardFormat,
    WriteReport,
    WriteTask,
)

# The folders of the work directory that hold the reports.
READ = "read"
MERGED = "merged"
WRITTEN = "written"

FIRST_FRAMES = "first_frames"  # a counter

_RUN_BYTES = 32 << 20  # Pixels in memory before they are written as sorted runs.
_ENCODED_BYTES = 512 << 10  # Pixels that are encoded at once: fastest where they fit the caches.


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
    report_file = work_dir / READ / f"{task.number:06d}.json"
    rejected_file = rejections.rejected_file(task.number, work_dir)
    done = reports.load(report_file, ReadReport.from_json, of=[rejected_file])
    if done and _are_whole(done, work_dir):
        return _count_read(done)
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
    rejections.write_rejected(task.number, rejected, work_dir)
    report = dataclasses.replace(report, first_frames=first_frames)
    reports.write(report_file, report.as_json(), of=[rejected_file])
    return _count_read(report)


def _are_whole(done: ReadReport, work_dir: epath.Path) -> bool:
    """Whether no run of a slice was lost or damaged in a failure of the machine."""
    paths = [work_dir / run.file for run in done.runs]
    found = [path for path in paths if path.exists()]
    # Merges begin when all slices have been read, and remove the runs that they have merged.
    if len(found) < len(paths) and not (work_dir / MERGED / "1").is_dir():
        return False
    tally = done.rejected
    try:
        for path in found:
            tally += sorted_runs.verified(path)
    except WorkError:
        return False
    return len(found) < len(paths) or tally.has_inputs_of(done.inputs)


def _count_read(report: ReadReport) -> dict[str, int]:
    frames = {FIRST_FRAMES: report.first_frames} if report.first_frames else {}
    return {"read": report.num_inputs, **frames}


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


def merge(task: MergeTask, work_dir: epath.Path) -> dict[str, int]:
    """Merges sorted runs into one, writes a report, and removes the runs.

    Returns:
      No counters.

    Raises:
      WorkError: a run is damaged.
    """
    report_file = work_dir / MERGED / str(task.level) / f"{task.merged.file}.json"
    if not _is_merged(task, work_dir):
        # Flushed to disk before its parts are removed.
        with new_run(work_dir / task.merged.file, durable=True) as run:
            for examples in sorted_runs.merged(task.runs, work_dir):
                run.add(examples)
    if reports.load(report_file, dict) is None:
        reports.write(report_file, {"runs": len(task.runs)})
    for part in task.runs:
        (work_dir / part.file).unlink(missing_ok=True)
    return {}


def _is_merged(task: MergeTask, work_dir: epath.Path) -> bool:
    """Whether a merge is done, and its run was not damaged in a failure of the machine.

    Its report may be damaged, and the parts be removed.
    """
    path = work_dir / task.merged.file
    if not path.exists():
        # The merges of the next level remove the runs that they have merged.
        return (work_dir / MERGED / str(task.level + 1)).is_dir()
    try:
        return sorted_runs.verified(path).total == task.merged.rows
    except WorkError:
        return False


def write(
    task: WriteTask | QuarantineTask,
    form: ShardFormat,
    work_dir: epath.Path,
    directory: epath.Path,
) -> dict[str, int]:
    """Writes a shard or a slice's part of the quarantine, and a report.

    Args:
      task: the shard or the slice.
      form: the format that all shards share.
      work_dir: directory of the sorted runs and the reports.
      directory: directory to write shards to.

    Returns:
      Counters, which an engine may show: `kept` and `bytes` of a shard; none of a part of the
      quarantine.
    """
    if isinstance(task, QuarantineTask):
        rejections.write_quarantine(task, form.shape, work_dir)
        return {}
    report = write_shard(task, form, work_dir, directory)
    return {"kept": report.kept.total, "bytes": report.pixel_bytes}


def write_shard(
    task: WriteTask, form: ShardFormat, work_dir: epath.Path, directory: epath.Path
) -> WriteReport:
    """Merges a range of hashes from the sorted runs into a shard, and writes a report."""
    report_file = work_dir / WRITTEN / f"{task.file}.json"
    path = directory / task.file
    done = reports.load(report_file, WriteReport.from_json)
    # A failure of the machine may have damaged a file that was complete.
    if done and path.exists() and files.sha256(path) == done.output.sha256:
        return done
    kept = InputTally()
    statistics = Statistics.empty(form.shape[-1], form.num_classes)
    step = max(1, _ENCODED_BYTES // math.prod(form.shape))
    digest = hashlib.sha256()
    size = 0
    hash_range = (task.low, task.high)
    listed = listing.read_runs(work_dir)
    runs = [run for run in listed if run.split == task.source_split]
    dropped_files = deduplication.dropped_files(form.ranges, work_dir)
    dropped = dropped_rows.by_file(hash_range, dropped_files, listed)
    parts = sorted_runs.merged(runs, work_dir, hash_range, dropped=dropped)
    with artifacts.atomic_write(path) as temporary, temporary.open("wb") as file:
        for part in parts:
            examples = part.examples
            for start in range(0, len(examples), step):
                data = codec.encode(examples.part(start, start + step))
                file.write(data)
                digest.update(data)
                size += len(data)
            statistics.add(examples.images, examples.labels)
            kept.add(part.hashes, examples.labels.tolist())
        files.flush(path, file)
    output = OutputRecord(size, digest.hexdigest())
    report = WriteReport(task.split, task.source_split, task.file, kept, statistics, output)
    reports.write(report_file, report.as_json())
    return report

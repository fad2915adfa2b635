"""Runs prepare's two Beam pipelines, and collects the reports of their workers."""

import contextlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from etils import epath

from components.base import files
from components.base.errors import UserError
from components.ingest.ledger import InputTally
from pipeline.beam import report_progress, worker_pool
from pipeline.prepare import workers
from pipeline.prepare.messages import (
    QuarantineReport,
    QuarantineTask,
    ReadReport,
    ShardInputs,
    WriteReport,
    WriteTask,
)
from pipeline.prepare.read_plan import ReadPlan

# With fewer inputs and slices, a single process finishes before a pool would have started.
_MIN_INPUTS_FOR_POOL = 1000
_MIN_SLICES_FOR_POOL = 5

Report = TypeVar("Report")


@contextlib.contextmanager
def work_directory(directory: epath.Path) -> Iterator[epath.Path]:
    """A directory for sorted runs and reports, which is removed at the end."""
    # A unique name: a lost worker of an earlier run may still be writing.
    work_dir = directory / f"work-{uuid.uuid4().hex}"
    for name in (workers.READ, workers.WRITTEN, workers.QUARANTINED):
        (work_dir / name).mkdir(parents=True)
    try:
        yield work_dir
    except UserError:
        # The draft stays after an error, but not a copy of all images.
        work_dir.rmtree()
        raise
    work_dir.rmtree()


@contextlib.contextmanager
def beam_options(reads: ReadPlan, beam_args: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The options of `launch.run_tasks`, with a pool of worker processes if that saves time."""
    is_large = reads.max_inputs >= _MIN_INPUTS_FOR_POOL or len(reads.tasks) >= _MIN_SLICES_FOR_POOL
    if worker_pool.can_use_pool(beam_args) and len(reads.tasks) > 1 and is_large:
        with worker_pool.workers(len(reads.tasks)) as pool:
            yield {"beam_args": beam_args, "task_runner": pool}
    else:
        yield {"beam_args": beam_args}


def read_slices(
    reads: ReadPlan, work_dir: epath.Path, options: dict[str, Any]
) -> tuple[list[ReadReport], Counter[str]]:
    """Reads slices into sorted runs in `work_dir`.

    Args:
      reads: the slices.
      work_dir: the work directory.
      options: the options of `beam_options`.

    Returns:
      The reports, in the order of the slices, and the sums of the workers' counters.
    """
    total = reads.max_inputs
    work = report_progress.Work(
        label="reading",
        unit="images",
        total=total,
        count=_count_read,
        line=lambda sums: (
            f"prepare: read {sums['images']:,} of {total:,} images, kept {sums['kept']:,}, "
            f"quarantined {sums['quarantined']:,}"
        ),
    )
    with report_progress.shown(work, work_dir / workers.READ, "*.json"):
        counters = run_tasks(reads.tasks, workers.read_slice, reads.sources, work_dir, **options)
    return _load_reports(work_dir / workers.READ, ReadReport.from_json), counters


def write_shards(
    tasks: Sequence[WriteTask | QuarantineTask],
    inputs: ShardInputs,
    work_dir: epath.Path,
    directory: epath.Path,
    options: dict[str, Any],
) -> tuple[list[WriteReport], list[QuarantineReport], Counter[str]]:
    """Writes shards to `directory` and the parts of the quarantine to `work_dir`.

    Args:
      tasks: the shards and the parts.
      inputs: the examples that the shards are written from.
      work_dir: the work directory.
      directory: directory of the shards.
      options: the options of `beam_options`.

    Returns:
      The reports of the shards and of the parts, in the order of their names, and the sums of the
      workers' counters.
    """
    total = sum(task.examples for task in tasks if isinstance(task, WriteTask))
    work = report_progress.Work(
        label="writing",
        unit="images",
        total=total,
        count=_count_written,
        line=lambda sums: (
            f"prepare: wrote {sums['images']:,} of {total:,} images, {sums['shards']:,} shards"
        ),
    )
    with report_progress.shown(work, work_dir / workers.WRITTEN, "*.json"):
        counters = run_tasks(tasks, workers.write, inputs, work_dir, directory, **options)
    return (
        _load_reports(work_dir / workers.WRITTEN, WriteReport.from_json),
        _load_reports(work_dir / workers.QUARANTINED, QuarantineReport.from_json),
        counters,
    )


def run_tasks(*arguments: Any, **options: Any) -> Counter[str]:
    """Calls `launch.run_tasks`."""
    # Importing Beam takes a second, in which the worker processes start.
    from pipeline.beam import launch

    return launch.run_tasks(*arguments, **options)


def _load_reports(directory: epath.Path, from_json: Callable[[Any], Report]) -> list[Report]:
    """The reports in a directory, in the order of their names, which runners do not affect."""
    paths = files.list_matching(directory, "*.json")
    return [from_json(json.loads(path.read_text())) for path in paths]


def _count_read(path: epath.Path) -> dict[str, int]:
    report = json.loads(path.read_text())
    read, rejected = (InputTally.from_json(report[name]).total for name in ("inputs", "rejected"))
    return {"images": read, "kept": read - rejected, "quarantined": rejected}


def _count_written(path: epath.Path) -> dict[str, int]:
    report = json.loads(path.read_text())
    return {"images": InputTally.from_json(report["kept"]).total, "shards": 1}

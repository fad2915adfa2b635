"""Runs prepare's Beam pipelines, and collects the reports of their workers."""

import collections
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from etils import epath

from components.base import files
from components.base.errors import UserError
from components.ingest.ledger import InputTally
from components.ingest.sorted_runs import SortedRun
from pipeline.beam import report_progress, worker_pool
from pipeline.prepare import (
    deduplication,
    listing,
    merge_plan,
    rejections,
    reports,
    shard_plan,
    workers,
)
from pipeline.prepare.messages import (
    MergeTask,
    QuarantineReport,
    QuarantineTask,
    RangeTask,
    ReadReport,
    ShardFormat,
    SliceSummary,
    WriteReport,
    WriteTask,
)
from pipeline.prepare.read_plan import ReadPlan

# With fewer inputs and slices, a single process finishes before a pool would have started.
_MIN_INPUTS_FOR_POOL = 1000
_MIN_SLICES_FOR_POOL = 5
_COMPARED = {deduplication.IDS: "compared the ids", deduplication.PIXELS: "compared the pixels"}


def work_directory(directory: epath.Path, key: str) -> epath.Path:
    """The directory for the sorted runs and reports of a piece of work.

    Args:
      directory: the draft of the dataset.
      key: digest of the work, from `ReadPlan.work_key`. A lost worker of other work may still be
        writing, but into another directory.
    """
    return directory / f"work-{key[:32]}"


def open_work(work_dir: epath.Path) -> None:
    """Creates a work directory, unless an interrupted run left it."""
    for name in (workers.READ, workers.MERGED, workers.WRITTEN, rejections.QUARANTINED):
        (work_dir / name).mkdir(parents=True, exist_ok=True)


def close_work(work_dir: epath.Path) -> None:
    """Removes a work directory: all reports first, then the files that they describe.

    If the removal is interrupted, no report is left of a file that is gone, so the same command can
    do the work again.
    """
    files.remove_all(path for path in files.walk_files(work_dir) if path.suffix == ".json")
    # On an object store, an empty directory does not exist.
    work_dir.rmtree(missing_ok=True)


@contextlib.contextmanager
def removed_after_user_errors(work_dir: epath.Path) -> Iterator[None]:
    """Removes the work directory if the body finds that the data cannot be prepared like this.

    An error leaves the draft, so that the next run continues. Here it could not, and the work
    directory holds a copy of all images.
    """
    try:
        yield
    except UserError:
        close_work(work_dir)
        raise


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
) -> tuple[list[SliceSummary], dict[str, InputTally], int]:
    """Reads slices into sorted runs in `work_dir`.

    Args:
      reads: the slices.
      work_dir: the work directory.
      options: the options of `beam_options`.

    Returns:
      The summaries of the slices, in their order; the tally of all inputs, by the source's split
      (an empty tally for any other split); and the number of inputs with several frames.
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
    tasks = listing.write(reads.tasks, work_dir)
    with report_progress.shown(work, work_dir / workers.READ, "*.json"):
        read = (workers.read_slice, reads.sources, work_dir)
        run_tasks(tasks, listing.with_task, work_dir, *read, **options)
    return _summaries(work_dir)


def _summaries(work_dir: epath.Path) -> tuple[list[SliceSummary], dict[str, InputTally], int]:
    """Loads the reports of `read_slices`; returns what it returns.

    There may be a hundred thousand slices. A tally has an entry for each class, so the tallies are
    added up while the reports are read, and most slices share one that is empty.
    """
    nothing = InputTally()
    inputs: dict[str, InputTally] = collections.defaultdict(InputTally)
    slices = []
    first_frames = 0
    for report in reports.load_each(work_dir / workers.READ, ReadReport.from_json):
        split = sys.intern(report.split)
        inputs[split] += report.inputs
        first_frames += report.first_frames
        rejected = report.rejected if report.rejected.total else nothing
        runs = tuple(report.runs)
        slices.append(SliceSummary(report.number, split, report.num_inputs, rejected, runs))
    return slices, inputs, first_frames


def merged(
    runs: Sequence[SortedRun], work_dir: epath.Path, options: dict[str, Any]
) -> list[SortedRun]:
    """Merges sorted runs, level by level, until few enough are left to write every shard from.

    Args:
      runs: runs of the same image shape, in the order of their slices.
      work_dir: the work directory.
      options: the options of `beam_options`.

    Returns:
      Runs of the same examples: at most `sorted_runs.MAX_MERGED` of each split.
    """
    remaining = list(runs)
    level = 1
    while tasks := merge_plan.merge_tasks(remaining, level):
        _run_merges(tasks, work_dir, options)
        remaining = merge_plan.after(remaining, tasks)
        level += 1
    return remaining


def _run_merges(tasks: Sequence[MergeTask], work_dir: epath.Path, options: dict[str, Any]) -> None:
    total = sum(len(task.runs) for task in tasks)
    work = report_progress.Work(
        label="merging",
        unit="runs",
        total=total,
        count=_count_merged,
        line=lambda sums: f"prepare: merged {sums['runs']:,} of {total:,} sorted runs",
    )
    directory = work_dir / workers.MERGED / str(tasks[0].level)
    directory.mkdir(exist_ok=True)
    with report_progress.shown(work, directory, "*.json"):
        run_tasks(tasks, workers.merge, work_dir, **options)


def compare(
    folder: epath.Path,
    tasks: Sequence[RangeTask],
    function: Callable[..., Any],
    *arguments: Any,
    options: dict[str, Any],
) -> None:
    """Does what `shard_plan.run_here` does; in a pipeline if there are several tasks.

    Args:
      folder, tasks, function, arguments: see `shard_plan.run_here`.
      options: the options of `beam_options`.
    """
    if len(tasks) == 1:
        # A pipeline would take longer to start.
        shard_plan.run_here(folder, tasks, function, *arguments)
        return
    what = _COMPARED.get(folder.name, "counted the images")
    work = report_progress.Work(
        label="comparing",
        unit="ranges",
        total=len(tasks),
        count=lambda path: {"ranges": 1},
        line=lambda sums: f"prepare: {what} of {sums['ranges']:,} of {len(tasks):,} ranges",
    )
    folder.mkdir(parents=True, exist_ok=True)
    with report_progress.shown(work, folder, "*.json"):
        run_tasks(tasks, function, *arguments, **options)


def write_shards(
    tasks: Sequence[WriteTask | QuarantineTask],
    form: ShardFormat,
    work_dir: epath.Path,
    directory: epath.Path,
    options: dict[str, Any],
) -> tuple[list[WriteReport], list[QuarantineReport]]:
    """Writes shards to `directory` and the parts of the quarantine to `work_dir`.

    Args:
      tasks: the shards and the parts.
      form: the format that all shards share.
      work_dir: the work directory.
      directory: directory of the shards.
      options: the options of `beam_options`.

    Returns:
      The reports of the shards and of the parts, in the order of their names.
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
        run_tasks(tasks, workers.write, form, work_dir, directory, **options)
    return (
        reports.load_all(work_dir / workers.WRITTEN, WriteReport.from_json),
        reports.load_all(work_dir / rejections.QUARANTINED, QuarantineReport.from_json),
    )


def run_tasks(*arguments: Any, **options: Any) -> None:
    """Calls `launch.run_tasks`."""
    # Importing Beam takes a second, in which the worker processes start.
    from pipeline.beam import launch

    launch.run_tasks(*arguments, **options)


# A damaged report of an earlier run counts as nothing, until its task has been done again.
def _count_read(path: epath.Path) -> dict[str, int]:
    report = reports.load(path, ReadReport.from_json)
    if report is None:
        return {}
    read, rejected = report.inputs.total, report.rejected.total
    return {"images": read, "kept": read - rejected, "quarantined": rejected}


def _count_merged(path: epath.Path) -> dict[str, int]:
    report = reports.load(path, dict)
    return {} if report is None else {"runs": report["runs"]}


def _count_written(path: epath.Path) -> dict[str, int]:
    report = reports.load(path, dict)
    if report is None:
        return {}
    return {"images": InputTally.from_json(report["kept"]).total, "shards": 1}

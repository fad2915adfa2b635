"""The quarantine: the list of the inputs that are in no shard, each with the reason.

The file has one JSON object per line with the fields of `components.ingest.rejection.Rejected`.
"""

from collections.abc import Iterator, Sequence

from etils import epath

from components.base import json_lines
from components.base.shapes import Shape
from pipeline.prepare import deduplication, rejections
from pipeline.prepare.messages import QuarantineReport, QuarantineTask, SliceSummary

QUARANTINE = "quarantine/quarantine.jsonl"


def tasks(slices: Sequence[SliceSummary], shape: Shape) -> Iterator[QuarantineTask]:
    """Yields one task for each slice with inputs that cannot be in a shard.

    Args:
      slices: the summaries of all slices.
      shape: (height, width, channels) of every image in the dataset.
    """
    for summary in slices:
        other_shapes = [run for run in summary.runs if run.shape != shape]
        if other_shapes or summary.rejected.total:
            yield QuarantineTask(summary.number, summary.split, other_shapes)


def write(
    reports: Sequence[QuarantineReport], ranges: int, work_dir: epath.Path, directory: epath.Path
) -> None:
    """Merges the lists of the slices and of the duplicates into one file in `directory`.

    Args:
      reports: the reports of the slices.
      ranges: the number of ranges in which duplicates were searched for.
      work_dir: the work directory.
      directory: the directory to write to.
    """
    lists = [rejections.quarantine_file(report.number, work_dir) for report in reports]
    lists += deduplication.rejected_files(ranges, work_dir)
    (directory / QUARANTINE).parent.mkdir(exist_ok=True)
    json_lines.write(
        directory / QUARANTINE, json_lines.merged(lists, rejections.order, work_dir / "quarantine")
    )


def read_ids(directory: epath.Path) -> set[str]:
    """Reads the ids of the inputs in quarantine."""
    return {row["id"] for row in json_lines.read(directory / QUARANTINE)}

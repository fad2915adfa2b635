"""The quarantine: the list of the inputs that are in no shard, each with the reason.

The file has one JSON object per line with the fields of `components.ingest.rejection.Rejected`.
"""

import collections
import itertools
from collections.abc import Iterator, Sequence

from etils import epath

from components.base import json_lines
from components.base.shapes import Shape
from pipeline.prepare import rejections
from pipeline.prepare.messages import QuarantineReport, QuarantineTask, SliceSummary
from pipeline.prepare.shard_plan import ShardPlan

QUARANTINE = "quarantine/quarantine.jsonl"


def tasks(
    reports: Sequence[SliceSummary], shard_plan: ShardPlan, shape: Shape
) -> Iterator[QuarantineTask]:
    """Yields one task for each slice with inputs that are in no shard.

    Args:
      reports: the reports of all slices.
      shard_plan: the plan of the shards, with the duplicates to drop.
      shape: (height, width, channels) of every image in the dataset.
    """
    duplicates = collections.defaultdict(list)
    for number, item in shard_plan.rejected:
        duplicates[number].append(item)
    for report in reports:
        other_shapes = [run for run in report.runs if run.shape != shape]
        if other_shapes or duplicates[report.number] or report.rejected.total:
            yield QuarantineTask(
                report.number, report.split, other_shapes, duplicates[report.number]
            )


def write(reports: Sequence[QuarantineReport], work_dir: epath.Path, directory: epath.Path) -> None:
    """Joins the lists of the slices into one file in `directory`.

    The lines are sorted, so that their order does not depend on how the source was cut into slices.
    """
    paths = [rejections.quarantine_file(report.number, work_dir) for report in reports]
    rows = itertools.chain.from_iterable(map(json_lines.read, paths))
    (directory / QUARANTINE).parent.mkdir(exist_ok=True)
    ordered = sorted(rows, key=lambda row: (row["split"], row["id"], row["reason"], row["detail"]))
    json_lines.write(directory / QUARANTINE, ordered)


def read_ids(directory: epath.Path) -> set[str]:
    """Reads the ids of the inputs in quarantine."""
    return {row["id"] for row in json_lines.read(directory / QUARANTINE)}

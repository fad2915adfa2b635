"""Lists of the inputs that are in no shard, which workers write for each slice.

When a slice is read, a worker lists the inputs that it rejects. When the shards are written, it
lists them again, together with the images whose shape is not that of the dataset. The driver joins
these lists in `pipeline.prepare.quarantine`.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from etils import epath

from components.base import json_lines
from components.base.shapes import Shape, format_shape
from components.data.examples import hash_ids
from components.ingest import sorted_runs
from components.ingest.ledger import InputTally
from components.ingest.rejection import Reason, Rejected
from pipeline.prepare import reports
from pipeline.prepare.messages import QuarantineReport, QuarantineTask

QUARANTINED = "quarantined"  # The folder of the work directory that holds the reports.


def write_rejected(number: int, rejected: Iterable[Rejected], work_dir: epath.Path) -> None:
    """Writes the list of the inputs that were rejected when a slice was read."""
    rows = [dataclasses.asdict(item) for item in rejected]
    json_lines.write(rejected_file(number, work_dir), rows, durable=bool(rows))


def rejected_inputs(number: int, work_dir: epath.Path) -> Iterator[Rejected]:
    """Yields the inputs that were rejected when a slice was read."""
    for row in json_lines.read(rejected_file(number, work_dir)):
        yield Rejected(**row)


def order(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The sort key of the rows of a quarantine."""
    # Properties of the input, so the order does not depend on how the source is cut into slices.
    return row["split"], row["id"], row["reason"], row["detail"]


def write_quarantine(task: QuarantineTask, shape: Shape, work_dir: epath.Path) -> QuarantineReport:
    """Lists the inputs of a slice that cannot be in a shard, sorted, and writes a report.

    Args:
      task: the slice.
      shape: (height, width, channels) of every image in the dataset.
      work_dir: the work directory.
    """
    report_file = work_dir / QUARANTINED / f"{task.number:06d}.json"
    path = quarantine_file(task.number, work_dir)
    if done := reports.load(report_file, QuarantineReport.from_json, of=[path]):
        return done
    tally = InputTally()
    rows = []
    for item in _quarantined_inputs(task, shape, work_dir):
        tally.add(hash_ids([item.id]), [item.label], reason=item.reason)
        rows.append(dataclasses.asdict(item))
    rows.sort(key=order)
    json_lines.write(path, rows, durable=True)
    report = QuarantineReport(task.number, task.split, tally)
    reports.write(report_file, report.as_json(), of=[path])
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


def quarantine_file(number: int, work_dir: epath.Path) -> epath.Path:
    """The file that lists the inputs of a slice that cannot be in a shard."""
    return work_dir / QUARANTINED / f"{number:06d}.jsonl"


def rejected_file(number: int, work_dir: epath.Path) -> epath.Path:
    """The file that lists the inputs that were rejected when a slice was read."""
    return work_dir / f"{number:06d}-rejected.jsonl"

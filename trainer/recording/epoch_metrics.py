"""The metrics of an epoch, and `metrics.jsonl`, the file with those of a run."""

import dataclasses
from collections.abc import Iterable

from etils import epath

from components.base import json_lines
from components.base.errors import WorkError

EPOCH_METRICS_FILE = "metrics.jsonl"


@dataclasses.dataclass(frozen=True)
class EpochMetrics:
    """The losses of an epoch, in nats per example, and its settings.

    Attributes:
      epoch: number of the epoch, counted from 1.
      step: number of steps done at its end.
      train: `loss`, `rate` and `distortion`: means over the training examples, each measured when
        the example was trained on.
      heldout: `loss` (the negative ELBO), `rate` and `distortion` of the validation examples at the
        end of the epoch; None if they were not measured.
      learning_rate: learning rate of the epoch's last step.
      beta: weight of the rate in the loss of the epoch's last step.
    """

    epoch: int
    step: int
    train: dict[str, float]
    heldout: dict[str, float] | None
    learning_rate: float
    beta: float


def write_metrics(path: epath.Path, rows: Iterable[EpochMetrics]) -> None:
    """Writes a `metrics.jsonl`, one line per epoch.

    The whole file is written again each time: it is short, and a killed process leaves either the
    old file or the new one, never half a line.
    """
    json_lines.write(path, map(dataclasses.asdict, rows), durable=True)


def read_metrics(path: epath.Path) -> list[EpochMetrics]:
    """The rows of a `metrics.jsonl`; an empty list if there is no such file.

    Raises:
      WorkError: the file is damaged.
    """
    if not path.exists():
        return []
    names = {field.name for field in dataclasses.fields(EpochMetrics)}
    rows: list[EpochMetrics] = []
    try:
        for row in json_lines.read(path):
            if not isinstance(row, dict) or row.keys() != names or row["epoch"] != len(rows) + 1:
                raise ValueError("not the row of this epoch")
            rows.append(EpochMetrics(**row))
    except ValueError:  # The line may also be no JSON, or not even text.
        number = len(rows) + 1
        raise damaged(path, f"line {number} is not the row of epoch {number}") from None
    return rows


def damaged(path: epath.Path, reason: str) -> WorkError:
    """The error for a `metrics.jsonl` that cannot be used."""
    return WorkError(
        f"{path} is damaged: {reason}; restore the file, or train again with --overwrite"
    )

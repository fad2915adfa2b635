"""The metrics of an epoch, and `metrics.jsonl`, the file with those of a run."""

import dataclasses
from collections.abc import Iterable

from etils import epath

from components.base import files, json_lines, json_types
from components.base.errors import WorkError
from components.base.manifest import fingerprint

EPOCH_METRICS_FILE = "metrics.jsonl"
_LOSSES = {"loss", "rate", "distortion"}
# A row has about 300.
_MAX_LINE_BYTES = 4096
# Far above any mean of losses in float32, and far below the largest number that a figure can show.
_LIMIT = 1e100


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


def digest(rows: Iterable[EpochMetrics]) -> str:
    """The SHA-256 digest of the rows of a `metrics.jsonl`, in hexadecimal."""
    return fingerprint([dataclasses.asdict(row) for row in rows])


def read_metrics(path: epath.Path) -> list[EpochMetrics]:
    """The rows of a `metrics.jsonl`; an empty list if there is no such file.

    Raises:
      WorkError: the file is damaged; the message names the line.
    """
    rows: list[EpochMetrics] = []
    if not path.exists():
        return rows
    with files.open_regular(path) as file:
        try:
            # The file may not be text, with lines of any length.
            while line := file.readline(_MAX_LINE_BYTES):
                rows.append(_row(line, after=rows[-1] if rows else None))
        except ValueError:
            number = len(rows) + 1
            raise damaged(path, f"line {number} is not the row of epoch {number}") from None
    return rows


def _row(line: bytes, *, after: EpochMetrics | None) -> EpochMetrics:
    """The row in a line. Raises ValueError if it is not the row of the epoch after another one."""
    row = json_types.parse(EpochMetrics, json_types.parse_text(line))
    epoch, step = (after.epoch, after.step) if after else (0, 0)
    if row.epoch != epoch + 1 or row.step <= step:
        raise ValueError("not the row of this epoch")
    for losses in (row.train, row.heldout):
        if losses is not None and losses.keys() != _LOSSES:
            raise ValueError("other losses")
    numbers = [row.learning_rate, row.beta, *row.train.values(), *(row.heldout or {}).values()]
    # This rejects NaN, too: comparisons with it are false.
    if not all(abs(number) < _LIMIT for number in numbers):
        raise ValueError("not finite, or not a mean of losses in float32")
    return row


def damaged(path: epath.Path, reason: str) -> WorkError:
    """The error for a `metrics.jsonl` that cannot be used."""
    return WorkError(
        f"{path} is damaged: {reason}; restore the file, or train again with --overwrite"
    )

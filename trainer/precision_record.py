"""The precision that `--precision auto` chose for a run, as a file of its draft.

A resumed run keeps the precision that it began with, whatever another measurement or machine would
choose.
"""

import dataclasses
import json

from etils import epath

from components.base import artifacts, json_types
from components.base.errors import WorkError
from trainer.config import PRECISIONS

PRECISION_FILE = "precision.json"
_MAX_BYTES = 4 << 10


@dataclasses.dataclass(frozen=True)
class PrecisionRecord:
    """A choice, and the measurement that it rests on.

    Attributes:
      precision: float32, bfloat16 or float16.
      measured: the CPU time of a step in milliseconds, by precision, if the choice rests on it.
    """

    precision: str
    measured: dict[str, float] | None = None


def read(directory: epath.Path) -> PrecisionRecord | None:
    """The choice recorded in a draft directory; None if there is none.

    Raises:
      WorkError: the file is damaged.
    """
    path = directory / PRECISION_FILE
    if not path.exists():
        return None
    try:
        value = json_types.load(path, max_bytes=_MAX_BYTES)
        record = json_types.parse(PrecisionRecord, value)
        choices = [name for name in PRECISIONS if name != "auto"]
        if record.precision not in choices:
            raise ValueError(f"precision is not one of {', '.join(choices)}")
    except ValueError as error:
        raise WorkError(
            f"{path} is damaged: {error}; restore the file, or train again with --overwrite"
        ) from None
    return record


def write(directory: epath.Path, record: PrecisionRecord) -> None:
    """Records a choice in a draft directory."""
    with artifacts.atomic_write(directory / PRECISION_FILE) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(record)) + "\n")

"""The ledger: a check that every input is kept as one example or is in quarantine with a reason.

Workers tally the inputs they read, keep and set aside. The stage adds the tallies up and compares
them. A checksum of ids makes sure that not only the numbers agree, but the inputs themselves.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from components.base import console
from components.base.errors import WorkError


@dataclasses.dataclass
class InputTally:
    """Counts of a set of inputs, with a checksum that identifies the set.

    Attributes:
      by_label: number of inputs by label; None is the key of unknown labels.
      by_reason: number of inputs by the reason why they were set aside; empty for kept inputs.
      checksum: sum of the hashes of the ids, modulo 2**64.
    """

    by_label: collections.Counter[int | None] = dataclasses.field(
        default_factory=collections.Counter
    )
    by_reason: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    checksum: int = 0

    @property
    def total(self) -> int:
        """Number of inputs."""
        return self.by_label.total()

    def add(
        self, hashes: np.ndarray, labels: Iterable[int | None], *, reason: str | None = None
    ) -> None:
        """Adds inputs to the tally.

        Args:
          hashes: hashes of the inputs' ids, uint64, shape [N].
          labels: the N labels.
          reason: why these inputs were set aside; None if they were not.
        """
        self.by_label.update(labels)
        if reason is not None:
            self.by_reason[reason] += len(hashes)
        # Both sums wrap around at 2**64, so they do not depend on the order.
        self.checksum = (self.checksum + int(hashes.sum(dtype=np.uint64))) % 2**64

    def has_inputs_of(self, other: "InputTally") -> bool:
        """Whether both are tallies of the same inputs, whatever was set aside."""
        return (self.by_label, self.checksum) == (other.by_label, other.checksum)

    def __add__(self, other: "InputTally") -> "InputTally":
        return InputTally(
            self.by_label + other.by_label,
            self.by_reason + other.by_reason,
            (self.checksum + other.checksum) % 2**64,
        )

    def as_json(self) -> dict[str, Any]:
        """The tally as JSON values, for `from_json`."""
        return {
            "by_label": [[label, count] for label, count in self.by_label.items()],
            "by_reason": dict(self.by_reason),
            "checksum": self.checksum,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "InputTally":
        """Restores a tally from the values of `as_json`."""
        return InputTally(
            collections.Counter(dict(map(tuple, value["by_label"]))),
            collections.Counter(value["by_reason"]),
            value["checksum"],
        )


def reconcile(
    inputs: Mapping[str, InputTally],
    kept: Mapping[str, InputTally],
    quarantined: Mapping[str, InputTally],
    *,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Checks that the tallies of kept and quarantined inputs add up to that of all inputs.

    Args:
      inputs: the tally of all inputs, by split of the source.
      kept: the tally of the inputs that became examples, by the same splits.
      quarantined: the tally of the inputs that were set aside, by the same splits.
      class_names: names of the classes, by label.

    Returns:
      The ledger for the manifest: counts by split and class, JSON values.

    Raises:
      WorkError: an input is neither kept nor in quarantine, or is both.
    """
    ledger = {}
    for split, tally in inputs.items():
        if not tally.has_inputs_of(kept[split] + quarantined[split]):
            raise WorkError(
                f"the ledger of {split} does not add up: {console.counted(tally.total, 'input')}, "
                f"{kept[split].total:,} kept, {quarantined[split].total:,} in quarantine; nothing "
                "was published; please report this bug"
            )
        ledger[split] = {
            "inputs": tally.total,
            "kept": kept[split].total,
            "quarantined": quarantined[split].total,
            "reasons": dict(sorted(quarantined[split].by_reason.items())),
            "classes": {
                _class_name(label, class_names): {
                    "inputs": count,
                    "kept": kept[split].by_label[label],
                    "quarantined": quarantined[split].by_label[label],
                }
                for label, count in sorted(tally.by_label.items(), key=_unknown_last)
            },
        }
    return ledger


def _unknown_last(label_and_count: tuple[int | None, int]) -> tuple[bool, int]:
    """A sort key: by label, with the unknown label at the end."""
    label, _ = label_and_count
    return label is None, label or 0


def _class_name(label: int | None, class_names: Sequence[str]) -> str:
    return "unknown" if label is None else class_names[label]

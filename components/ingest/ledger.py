"""The ledger: every input is in exactly one shard row, or in quarantine with a reason."""

import collections
import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from components.base.errors import WorkError


class Reason(enum.StrEnum):
    """Why an input is no example."""

    EMPTY = "empty"
    WRONG_TYPE = "wrong_type"
    UNDECODABLE = "undecodable"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    WRONG_SHAPE = "wrong_shape"
    BAD_LABEL = "bad_label"
    DUPLICATE_KEY = "duplicate_key"
    DUPLICATE_CONTENT = "duplicate_content"


class UnusableError(ValueError):
    """An input that no example can be made of. Its text is one line for people."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Rejected:
    """An input that is no example, and why.

    Attributes:
      label: its class, where that is known.
      detail: the reason for people, one line.
    """

    id: str
    split: str
    label: int | None
    reason: Reason
    detail: str


@dataclasses.dataclass
class Account:
    """A set of inputs, counted so that two sets that differ are told apart.

    Attributes:
      by_label: how many have each label; under None those whose label is not known.
      by_reason: how many were set aside for each reason; empty for a set that was kept.
      checksum: the sum of the ids' hashes, modulo 2**64.
    """

    by_label: collections.Counter[int | None] = dataclasses.field(
        default_factory=collections.Counter
    )
    by_reason: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    checksum: int = 0

    @property
    def total(self) -> int:
        return self.by_label.total()

    def add(
        self, hashes: np.ndarray, labels: Iterable[int | None], *, reason: str | None = None
    ) -> None:
        """Counts inputs by the hashes of their ids, uint64 [N], and their N labels."""
        self.by_label.update(labels)
        if reason is not None:
            self.by_reason[reason] += len(hashes)
        # Added up with a wrap at 2**64, as uint64 does.
        self.checksum = (self.checksum + int(hashes.sum(dtype=np.uint64))) % 2**64

    def __add__(self, other: "Account") -> "Account":
        return Account(
            self.by_label + other.by_label,
            self.by_reason + other.by_reason,
            (self.checksum + other.checksum) % 2**64,
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "by_label": [[label, count] for label, count in self.by_label.items()],
            "by_reason": dict(self.by_reason),
            "checksum": self.checksum,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Account":
        return Account(
            collections.Counter(dict(map(tuple, value["by_label"]))),
            collections.Counter(value["by_reason"]),
            value["checksum"],
        )


def reconcile(
    inputs: Mapping[str, Account],
    kept: Mapping[str, Account],
    quarantined: Mapping[str, Account],
    *,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """The account of every input, by split and class, as it stands in the manifest.

    Each argument has an account for each of the source's splits.

    Raises:
      WorkError: some input is neither kept nor in quarantine, or is both.
    """
    ledger = {}
    for split, account in inputs.items():
        both = kept[split] + quarantined[split]
        if (account.by_label, account.checksum) != (both.by_label, both.checksum):
            raise WorkError(
                f"the ledger of {split} does not add up: {account.total:,} inputs, "
                f"{kept[split].total:,} kept, {quarantined[split].total:,} in quarantine; nothing "
                "was published, please report this as a bug"
            )
        ledger[split] = {
            "inputs": account.total,
            "kept": kept[split].total,
            "quarantined": quarantined[split].total,
            "reasons": dict(sorted(quarantined[split].by_reason.items())),
            "classes": {
                _class_name(label, class_names): {
                    "inputs": count,
                    "kept": kept[split].by_label[label],
                    "quarantined": quarantined[split].by_label[label],
                }
                for label, count in sorted(
                    account.by_label.items(), key=lambda item: (item[0] is None, item[0] or 0)
                )
            },
        }
    return ledger


def _class_name(label: int | None, class_names: Sequence[str]) -> str:
    return "unknown" if label is None else class_names[label]

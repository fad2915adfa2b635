"""Inputs that cannot become examples, and the reasons."""

import dataclasses
import enum


class Reason(enum.StrEnum):
    """The reason why an input is set aside. The values are used in files."""

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
    """An input that cannot become an example. The message is one human-readable line."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Rejected:
    """An input that is set aside, with the reason.

    Attributes:
      id: the id that its example would have had.
      split: the source's split.
      label: its label; None if it is unknown.
      reason: the reason, machine-readable.
      detail: the reason, human-readable: one line.
    """

    id: str
    split: str
    label: int | None
    reason: Reason
    detail: str

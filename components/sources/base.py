"""What every source of images is and does."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from components.artifacts import Input
from components.examples import Block

BLOCK_EXAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Slice:
    """A part of a source that one worker reads at a time.

    Attributes:
      split: the source's own split.
      name: what is read: a file's name, a block's number.
      first: the index within the split of the slice's first example.
      examples: how many it should hold.
    """

    split: str
    name: str
    first: int
    examples: int


@dataclasses.dataclass(frozen=True)
class Rejected:
    """An input that is no example, and why."""

    id: str
    split: str
    reason: str


class Source(Protocol):
    """A picklable object that names its slices and reads one at a time, on any worker."""

    @property
    def name(self) -> str:
        """The dataset's name, as it stands in file names."""

    @property
    def input(self) -> Input:
        """Where the images lie and a digest of them; answers without TensorFlow or TFDS."""

    @property
    def settings(self) -> dict[str, Any]:
        """What a user can set of it; JSON values, for the manifest."""

    @property
    def class_names(self) -> list[str]:
        """The label's names, by label."""

    @property
    def num_examples(self) -> Mapping[str, int]:
        """Inputs by split: `train`, and `validation` and `test` where the source has them."""

    def slices(self) -> list[Slice]:
        """All of the source, in parts."""

    def read(self, part: Slice) -> Iterator[Block | Rejected]:
        """Blocks of one shape each, and what could not be read, each input exactly once.

        Raises:
          WorkError: the file is damaged; names it and the record.
        """


def example_id(split: str, index: int) -> str:
    """The stable id of a source's example: its split and its place in it."""
    return f"{split}-{index:08d}"

"""Views of arrays in files, which rearrange or select their rows while they are read."""

import abc
import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from etils import epath

from components.base import memory
from components.sources.array_file import StoredArray
from components.sources.layout import AxisLayout


@dataclasses.dataclass(frozen=True)
class ArrayView(abc.ABC):
    """A view of a stored array, with the attributes and methods of a StoredArray.

    Attributes:
      stored: the array, or another view of it.
    """

    stored: "StoredArray | ArrayView"

    @property
    def name(self) -> str:
        """Name of the file and of the array in it, for messages."""
        return self.stored.name

    @property
    def path(self) -> epath.Path:
        """The file."""
        return self.stored.path

    @property
    def member(self) -> str:
        """Name of the member, if the file is to be read as a zip archive; otherwise ""."""
        return self.stored.member

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """[N, ...]."""

    @property
    def dtype(self) -> np.dtype:
        """Type of an element."""
        return self.stored.dtype

    @property
    def rows(self) -> int:
        """Number of images or labels."""
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Size of one image or label, in bytes."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def seekable(self) -> bool:
        """Whether reading can start at any row."""
        return self.stored.seekable

    @abc.abstractmethod
    def batches(self, first: int, count: int, batch_rows: int) -> Iterator[np.ndarray]:
        """Yields rows in batches, as `StoredArray.batches` does."""


@dataclasses.dataclass(frozen=True)
class ArrangedArray(ArrayView):
    """An array of images whose axes are stored in an order that the user states.

    The view has the order NHW or NHWC.

    Attributes:
      stored: the array as it is stored.
      layout: the order of its axes.
    """

    stored: StoredArray
    layout: AxisLayout

    def check_load(self, limit: int) -> None:
        """Raises ConfigError if the array must be loaded as a whole, and is larger than `limit`.

        Args:
          limit: in bytes.
        """
        if not self.layout.is_by_image:
            size = self.stored.rows * self.stored.row_bytes
            memory.check_load(f"{self.name}, read with --layout,", size, limit=limit)

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, height, width] or [N, height, width, channels]."""
        return self.layout.shape_after(self.name, self.stored.shape)

    @property
    def seekable(self) -> bool:
        """Whether reading can start at any image."""
        return self.stored.seekable and self.layout.is_by_image

    def batches(self, first: int, count: int, batch_rows: int) -> Iterator[np.ndarray]:
        """Yields images in batches, as `StoredArray.batches` does.

        An array that does not hold its images one after the other is loaded as a whole.
        """
        if self.layout.is_by_image:
            for pixels in self.stored.batches(first, count, batch_rows):
                yield np.ascontiguousarray(self.layout.arrange(pixels))
            return
        images = self.layout.arrange(self.stored.read())
        for start in range(first, first + count, batch_rows):
            yield np.ascontiguousarray(images[start : min(start + batch_rows, first + count)])

"""What is known of a set of images after one pass over them.

Kept are counts alone, so that parts are merged without loss, in any order; all else follows from
them. Intensities are those of the pixels, 0 to 255.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

INTENSITIES = np.arange(256)
MODES = {1: "L", 3: "RGB"}  # Pillow's names for images of so many channels.


@dataclasses.dataclass(eq=False)
class Statistics:
    """Counts of intensities and labels.

    Attributes:
      histogram: int64, shape [channels, 256]: how often each intensity occurs.
      labels: int64, shape [classes]: examples by label.
    """

    histogram: np.ndarray
    labels: np.ndarray

    @staticmethod
    def empty(channels: int, num_classes: int) -> "Statistics":
        return Statistics(np.zeros((channels, 256), np.int64), np.zeros(num_classes, np.int64))

    def add(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Counts examples.

        Args:
          images: uint8, shape [N, height, width, channels].
          labels: integers, shape [N].

        Raises:
          ValueError: they are no such examples; then nothing was counted.
        """
        channels, num_classes = len(self.histogram), len(self.labels)
        if images.ndim != 4 or images.shape[-1] != channels or images.dtype != np.uint8:
            raise ValueError(
                f"images must be uint8, [N, height, width, {channels}]. "
                f"Received: {images.dtype}, {list(images.shape)}"
            )
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"labels must have shape [{len(images)}]. Received: {list(labels.shape)}"
            )
        refused = labels[(labels < 0) | (labels >= num_classes)]
        if refused.size:
            raise ValueError(
                f"labels must lie in 0..{num_classes - 1}. Received: {np.unique(refused).tolist()}"
            )
        if images.size:
            self.histogram += _histogram(images)
            self.labels += np.bincount(labels, minlength=num_classes)

    def merge(self, other: "Statistics") -> None:
        """Adds what another has counted."""
        shapes = [(part.histogram.shape, part.labels.shape) for part in (self, other)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"only counts of equal shapes merge. Received: {shapes}")
        self.histogram += other.histogram
        self.labels += other.labels

    @property
    def num_examples(self) -> int:
        return int(self.labels.sum())

    @property
    def mean(self) -> np.ndarray:
        """Float64, shape [channels]; nan where nothing was counted."""
        return np.array([_moments(counts)[0] for counts in self.histogram])

    @property
    def variance(self) -> np.ndarray:
        """Of the population: float64, shape [channels]; nan where nothing was counted."""
        return np.array([_moments(counts)[1] for counts in self.histogram])

    @property
    def minimum(self) -> np.ndarray:
        """The lowest intensities: int64, shape [channels]; 255 where nothing was counted."""
        return np.where(self.histogram > 0, INTENSITIES, 255).min(axis=1)

    @property
    def maximum(self) -> np.ndarray:
        """The highest intensities: int64, shape [channels]; 0 where nothing was counted."""
        return np.where(self.histogram > 0, INTENSITIES, 0).max(axis=1)

    def as_json(self) -> dict[str, Any]:
        return {"histogram": self.histogram.tolist(), "labels": self.labels.tolist()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Statistics":
        return Statistics(
            np.array(values["histogram"], np.int64), np.array(values["labels"], np.int64)
        )


def describe(
    per_split: Mapping[str, Statistics],
    *,
    class_names: Sequence[str],
    bytes_by_shard: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """What people and tools want to know of each split, as JSON values.

    Args:
      per_split: what was counted, by split.
      class_names: by label.
      bytes_by_shard: by split, the size of each file.

    Returns:
      By split, `examples`, `examples_by_class`, `channels` and `bytes_by_shard`. Of each channel
      `mean`, `variance`, `min`, `max` and `histogram`; a split without examples has no channels.
    """
    return {
        split: {
            "examples": statistics.num_examples,
            "examples_by_class": dict(zip(class_names, statistics.labels.tolist(), strict=True)),
            "channels": _describe_channels(statistics) if statistics.num_examples else [],
            "bytes_by_shard": dict(bytes_by_shard[split]),
        }
        for split, statistics in per_split.items()
    }


def _describe_channels(statistics: Statistics) -> list[dict[str, Any]]:
    columns = {
        "mean": statistics.mean,
        "variance": statistics.variance,
        "min": statistics.minimum,
        "max": statistics.maximum,
        "histogram": statistics.histogram,
    }
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _histogram(images: np.ndarray) -> np.ndarray:
    """How often each intensity occurs: int64, [channels, 256]."""
    count, height, width, channels = images.shape
    # Pillow counts bytes where they lie, 2 to 5 times as fast as bincount, which makes them int64.
    pixels, mode = np.ascontiguousarray(images), MODES[channels]
    picture = Image.frombuffer(mode, (height * width, count), pixels, "raw", mode, 0, 1)
    return np.array(picture.histogram(), np.int64).reshape(channels, 256)


def _moments(counts: np.ndarray) -> tuple[float, float]:
    """Mean and variance of intensities: whole numbers until the one division, so no digit is lost.

    Python's whole numbers, as n Σv² may pass 64 bits from 12 million pixels on.
    """
    n = int(counts.sum())
    if not n:
        return np.nan, np.nan
    first, second = int(counts @ INTENSITIES), int(counts @ INTENSITIES**2)
    return first / n, (n * second - first * first) / (n * n)

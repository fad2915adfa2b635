"""Statistics of the pixels and labels of a set of images, computed in one pass.

Only counts are stored; mean, variance and range are derived from them. So the statistics of parts
merge exactly, in any order. Intensities are pixel values from 0 to 255.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from components.ingest.convert import MODES

INTENSITIES = np.arange(256)
_MAX_HALF = 127  # The highest intensity without the upper bit.
_MAX_MASK = 15


@dataclasses.dataclass(eq=False)
class Statistics:
    """Counts of intensities and labels.

    Attributes:
      histogram: number of pixels by channel and intensity: int64, shape [channels, 256].
      labels: number of examples by label: int64, shape [classes].
    """

    histogram: np.ndarray
    labels: np.ndarray

    @staticmethod
    def empty(channels: int, num_classes: int) -> "Statistics":
        """Statistics of no examples."""
        return Statistics(np.zeros((channels, 256), np.int64), np.zeros(num_classes, np.int64))

    def add(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Adds examples.

        Args:
          images: uint8, shape [N, height, width, channels].
          labels: integers, shape [N].

        Raises:
          ValueError: a shape, a type or a label is invalid; nothing is added.
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
        invalid = labels[(labels < 0) | (labels >= num_classes)]
        if invalid.size:
            raise ValueError(
                f"labels must be in 0..{num_classes - 1}. Received: {np.unique(invalid).tolist()}"
            )
        if images.size:
            self.histogram += _histogram(images)
            self.labels += np.bincount(labels, minlength=num_classes)

    def merge(self, other: "Statistics") -> None:
        """Adds the counts of `other`, which has the same channels and classes."""
        shapes = [(part.histogram.shape, part.labels.shape) for part in (self, other)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"only statistics of equal shapes can be merged. Received: {shapes}")
        self.histogram += other.histogram
        self.labels += other.labels

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return int(self.labels.sum())

    @property
    def mean(self) -> np.ndarray:
        """Mean intensity: float64, shape [channels]; nan without examples."""
        return np.array([_moments(counts)[0] for counts in self.histogram])

    @property
    def variance(self) -> np.ndarray:
        """Population variance: float64, shape [channels]; nan without examples."""
        return np.array([_moments(counts)[1] for counts in self.histogram])

    @property
    def minimum(self) -> np.ndarray:
        """Lowest intensity: int64, shape [channels]; 255 without examples."""
        return np.where(self.histogram > 0, INTENSITIES, 255).min(axis=1)

    @property
    def maximum(self) -> np.ndarray:
        """Highest intensity: int64, shape [channels]; 0 without examples."""
        return np.where(self.histogram > 0, INTENSITIES, 0).max(axis=1)

    def as_json(self) -> dict[str, Any]:
        """The counts as JSON values, for `from_json`."""
        return {"histogram": self.histogram.tolist(), "labels": self.labels.tolist()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Statistics":
        """Restores statistics from the values of `as_json`."""
        return Statistics(
            np.array(values["histogram"], np.int64), np.array(values["labels"], np.int64)
        )


def describe(
    per_split: Mapping[str, Statistics],
    *,
    class_names: Sequence[str],
    bytes_by_shard: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """Summarizes each split in JSON values, for people and tools.

    Args:
      per_split: the statistics, by split.
      class_names: names of the classes, by label.
      bytes_by_shard: sizes of the shards, by split and file name.

    Returns:
      By split: `examples`, `examples_by_class`, `channels` and `bytes_by_shard`. Each channel has
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


def findings(per_split: Mapping[str, Statistics]) -> list[str]:
    """Signs that the pixels are not as the user intended: one line per kind of finding.

    Args:
      per_split: the statistics, by split.
    """
    constant: dict[str, int] = {}
    narrow: dict[str, int] = {}
    for split, statistics in per_split.items():
        highest = int(statistics.maximum.max())
        if not statistics.num_examples:
            continue
        if (statistics.minimum == statistics.maximum).all():
            constant[split] = highest
        elif highest <= _MAX_HALF:
            narrow[split] = highest
    lines = []
    if constant:
        lines.append(
            f"all images of {_enumerate(constant)} are of one color, at most "
            f"{max(constant.values())} of 255: 16-bit images must use all their 16 bits, since the "
            "upper 8 are kept; save smaller values as uint8, and drawings on a transparent ground "
            "need --background white"
        )
    if narrow:
        highest = max(narrow.values())
        cause = "masks, or 12-bit values in 16 bits?" if highest <= _MAX_MASK else "fewer bits?"
        lines.append(
            f"the highest value in {_enumerate(narrow)} is {highest} of 255, so "
            f"{8 - highest.bit_length()} of 8 bits are unused ({cause}); scale the images to the "
            "whole range, 0..255 or 0..65535 for 16 bits"
        )
    return lines


def _enumerate(splits: Mapping[str, int]) -> str:
    return ", ".join(splits)


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
    """Number of pixels by channel and intensity: int64, shape [channels, 256]."""
    count, height, width, channels = images.shape
    # Pillow counts bytes in place. `np.bincount` converts them to int64 first and takes 2 to 5
    # times as long. All images together form one tall picture.
    pixels, mode = np.ascontiguousarray(images), MODES[channels]
    picture = Image.frombuffer(mode, (height * width, count), pixels, "raw", mode, 0, 1)
    return np.array(picture.histogram(), np.int64).reshape(channels, 256)


def _moments(counts: np.ndarray) -> tuple[float, float]:
    """Mean and variance of intensities, exact up to the final division.

    mean = Σv / n and variance = (n Σv² - (Σv)²) / n². The sums are Python integers, since n Σv² may
    exceed 64 bits from 12 million pixels on.

    Args:
      counts: number of pixels by intensity, shape [256].
    """
    n = int(counts.sum())
    if not n:
        return np.nan, np.nan
    first, second = int(counts @ INTENSITIES), int(counts @ INTENSITIES**2)
    return first / n, (n * second - first * first) / (n * n)

"""The section on classes and single examples, with pictures of the easiest and the hardest."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from components.data.class_names import display_order
from components.figures.mosaic import to_bytes
from components.figures.page_pictures import Picture, tiles
from components.metrics.mean import Mean
from components.metrics.subsets import evenly_by_class
from components.model.decode import reconstruct
from pipeline.evaluate.report.subject import ReportSubject, shown

_EXTREMES, _THUMBNAILS = 9, 14
_MAX_CLASSES = 30


@dataclasses.dataclass(frozen=True)
class PicturedExample:
    """An example above its reconstruction.

    Attributes:
      image: the picture of both.
      value: its ELBO in nats, as text.
      class_name: the name of its class.
      id: its id.
    """

    image: Picture
    value: str
    class_name: str
    id: str


@dataclasses.dataclass(frozen=True)
class Extremes:
    """The examples with the lowest ELBO, lowest first, and those with the highest."""

    worst: list[PicturedExample]
    best: list[PicturedExample]


class MeanOfClass(Protocol):
    """The mean of a metric over the examples of a class.

    Attributes:
      mean: the mean.
      examples: number of examples.
    """

    @property
    def mean(self) -> Mean: ...

    @property
    def examples(self) -> int: ...


def extremes(subject: ReportSubject) -> Extremes:
    """The examples with the lowest and the highest ELBO, and their reconstructions."""
    examples, elbo = subject.examples, subject.elbo
    # An ELBO that is NaN counts as the worst.
    order = np.argsort(np.nan_to_num(elbo, nan=-np.inf), kind="stable")
    worst = order[:_EXTREMES]
    best = order[max(_EXTREMES, len(order) - _EXTREMES) :][::-1]
    pairs = _pairs(subject, np.concatenate([worst, best]))
    pictured = [
        PicturedExample(
            tiles(pair[:, np.newaxis]),
            f"{elbo[row]:z,.1f}".replace("-", "−"),
            subject.class_names[examples.labels[row]],
            shown(examples.ids[row]),
        )
        for row, pair in zip([*worst, *best], pairs, strict=True)
    ]
    return Extremes(pictured[: len(worst)], pictured[len(worst) :])


def thumbnails(subject: ReportSubject) -> list[tuple[str, Picture]]:
    """Examples of all classes, their reconstructions, and samples, at the top of the page."""
    rows = evenly_by_class(subject.examples.labels, _THUMBNAILS)
    pairs = _pairs(subject, rows)
    # The first sample of each strip, then the second: the strips may be classes.
    columns = [np.stack(column) for strip in subject.samples for column in strip.images]
    samples = np.concatenate([np.stack(each) for each in zip(*columns, strict=True)])[:_THUMBNAILS]
    return [
        (f"{subject.scores.split} examples", tiles(pairs[np.newaxis, :, 0])),
        ("reconstructions", tiles(pairs[np.newaxis, :, 1])),
        ("samples", tiles(samples[np.newaxis])),
    ]


def _pairs(subject: ReportSubject, rows: np.ndarray) -> np.ndarray:
    """Examples and their reconstructions, uint8 [rows, 2, height, width, channels]."""
    images, labels = subject.examples.images[rows], subject.examples.labels[rows]
    return np.stack([images, to_bytes(reconstruct(subject.vae, images, labels))], axis=1)


def class_rows(means: Mapping[str, MeanOfClass]) -> list[dict[str, str]]:
    """The mean of each class as a row of a table, with the place of its interval on a line.

    Args:
      means: by the name of the class, in the order of the labels.

    Returns:
      For each of the first classes in the order in which they are shown: `name`, `count`, `mean`,
      `half_width`, and the `left` end and the `width` of its interval in percent of the line.
      Nothing for fewer than two classes.
    """
    if len(means) < 2:
        return []
    names = list(means)
    intervals = {name: _interval(each.mean) for name, each in means.items()}
    low = min(first for first, _ in intervals.values())
    extent = max(last for _, last in intervals.values()) - low or 1.0
    rows = []
    for index in display_order(names)[:_MAX_CLASSES]:
        each, (first, last) = means[names[index]], intervals[names[index]]
        half_width = each.mean.half_width
        rows.append(
            {
                "name": shown(names[index]),
                "count": f"{each.examples:,}",
                "mean": f"{each.mean.value:z,.2f}".replace("-", "−"),
                "half_width": f"{half_width:,.2f}" if math.isfinite(half_width) else "",
                # The narrowest mark has 4 pixels, which must stay on the line.
                "left": f"{96 * (first - low) / extent:.1f}",
                "width": f"{96 * (last - first) / extent:.1f}",
            }
        )
    return rows


def _interval(mean: Mean) -> tuple[float, float]:
    """The ends of an interval; that of a single example is its value."""
    return mean.interval if math.isfinite(mean.half_width) else (mean.value, mean.value)

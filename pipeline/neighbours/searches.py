"""The searches: the neighbors of a query, the outliers, and near duplicates."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from components.base import console, memory
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Input
from components.metrics.near_pairs import linked_groups, median_nearest_distance, nearest_within
from components.metrics.nearest_neighbors import squared_distances
from components.metrics.smallest import SmallestInStream
from pipeline.neighbours.query import Query
from pipeline.neighbours.tables import EmbeddingRows

DISTANCE, OUTLIER_SCORE = "distance", "outlier_score"
# Columns that are shown if the tables have them.
_NAMES = ("id", "split", "label", "label_name")
_SCORES = ("rate", "distortion")
# The threshold of near duplicates, as a share of the median distance of a row to its nearest.
_NEAR_SHARE = 0.1
# Arrays as large as all vectors that a search for near duplicates holds at once.
_COPIES = 4


@dataclasses.dataclass(frozen=True)
class Match:
    """A row that a search found.

    Attributes:
      values: its values, by column.
      row: its number; None for a query that is not a row.
      pixels: its image, uint8 [height, width, channels], if it does not come from the tables.
    """

    values: dict[str, Any]
    row: int | None
    pixels: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
      title: the kind of rows that were searched for.
      summary: the result in a sentence.
      measure: the name of the value that the rows are sorted by, which is in their values.
      groups: the rows, in groups of rows that belong together, or all rows in one.
      is_grouped: whether they are in groups.
    """

    title: str
    summary: str
    measure: str
    groups: list[list[Match]]
    is_grouped: bool = False


class EmbeddingSearch(Protocol):
    """A search.

    Attributes:
      config: what identifies it in a manifest besides the number of results, as JSON values.
      inputs: its inputs besides the tables, by name, for a manifest.
    """

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def inputs(self) -> Mapping[str, Input]: ...

    def run(self, rows: EmbeddingRows) -> SearchResult:
        """Searches in tables."""


@dataclasses.dataclass(frozen=True)
class NearestSearch:
    """The rows whose embeddings are nearest to that of a query, by the Euclidean distance.

    Attributes:
      query: the query.
      count: number of neighbors.
    """

    query: Query
    count: int

    @property
    def config(self) -> dict[str, Any]:
        """See `EmbeddingSearch`."""
        return {"search": "nearest", **self.query.config}

    @property
    def inputs(self) -> Mapping[str, Input]:
        """See `EmbeddingSearch`."""
        return self.query.inputs

    def run(self, rows: EmbeddingRows) -> SearchResult:
        """See `EmbeddingSearch.run`; memory does not grow with the tables."""
        rows.require("mean")
        point = self.query.locate(rows)
        smallest, first = SmallestInStream(self.count), 0
        for (means,) in rows.vectors("mean"):
            distances = squared_distances(means, point.mean)
            if point.row is not None and first <= point.row < first + len(means):
                distances[point.row - first] = np.inf
            smallest.add(distances)
            first += len(means)
        distances = np.sqrt(smallest.values)
        found = _matches(rows, smallest.numbers, {DISTANCE: distances})
        if point.row is None:
            own = Match({DISTANCE: 0.0, "id": self.query.name}, None, point.pixels)
        else:
            (own,) = _matches(rows, [point.row], {DISTANCE: [0.0]})
        return SearchResult(
            f"nearest neighbors of {self.query.name}",
            f"{console.counted(len(found), 'neighbor')} of {len(rows):,} rows, by the distance of "
            "the posterior means; the query is first",
            DISTANCE,
            [[own, *found]],
        )


@dataclasses.dataclass(frozen=True)
class OutlierSearch:
    """The rows of the highest outlier scores.

    Attributes:
      count: number of rows.
    """

    count: int
    inputs: Mapping[str, Input] = dataclasses.field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """See `EmbeddingSearch`."""
        return {"search": "outliers"}

    def run(self, rows: EmbeddingRows) -> SearchResult:
        """See `EmbeddingSearch.run`; memory does not grow with the tables.

        Raises:
          ConfigError: the scores are not known.
        """
        rows.require(OUTLIER_SCORE)
        smallest = SmallestInStream(self.count)
        for block in rows.blocks(OUTLIER_SCORE):
            scores = block[OUTLIER_SCORE].to_numpy(zero_copy_only=False).astype(np.float64)
            # A score that is null or not a number counts as the lowest.
            smallest.add(-np.where(np.isnan(scores), -np.inf, scores))
        if not len(smallest.numbers):
            raise ConfigError(
                f"the column {OUTLIER_SCORE} of {rows.artifact.path} is empty; embed the images "
                "again with --training_examples and the dataset that the model was trained on"
            )
        found = _matches(rows, smallest.numbers, {OUTLIER_SCORE: -smallest.values}, *_SCORES)
        return SearchResult(
            "most unlikely images",
            f"{len(found):,} of {len(rows):,} rows, by the outlier score: about 0 for a typical "
            "image of the training set",
            OUTLIER_SCORE,
            [found],
        )


@dataclasses.dataclass(frozen=True)
class DuplicateSearch:
    """Groups of rows that are linked as nearest neighbors within a threshold.

    The unit of distances is the posterior standard deviation: each latent dimension is divided by
    the square root of the mean posterior variance of all rows.

    Attributes:
      threshold: the largest distance of two rows that are linked; None for `default_threshold`.
    """

    threshold: float | None
    inputs: Mapping[str, Input] = dataclasses.field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """See `EmbeddingSearch`."""
        return {"search": "duplicates", "threshold": self.threshold}

    def run(self, rows: EmbeddingRows) -> SearchResult:
        """See `EmbeddingSearch.run`; memory grows with the number of rows.

        Raises:
          WorkError: there is not enough memory.
        """
        rows.require("mean", "log_variance")
        points = _in_deviations(rows)
        threshold = default_threshold(points) if self.threshold is None else self.threshold
        numbers, distances = nearest_within(points, threshold)
        groups = linked_groups(numbers)
        groups.sort(key=lambda group: (distances[group].min(), group[0]))
        # A member may only be the target of a link; its own distance is that to its nearest member.
        members = np.concatenate([*groups, np.empty(0, np.int64)]).astype(np.int64)
        matches = iter(_matches(rows, members, {DISTANCE: distances[members]}))
        return SearchResult(
            "near duplicates",
            f"{console.counted(len(groups), 'group')} with {len(members):,} of the "
            f"{len(rows):,} rows, each at most {threshold:.3g} times the posterior standard "
            "deviation from another of its group",
            DISTANCE,
            [[next(matches) for _ in group] for group in groups],
            is_grouped=True,
        )


def default_threshold(points: np.ndarray) -> float:
    """The largest distance of near duplicates, in the unit of the points.

    It is at most one posterior standard deviation: within it, the latents hardly tell two images
    apart. With few latents, most images are that near to some other image. So it is also at most a
    tenth of the median distance of a point to its nearest: few pairs are that near by chance. Among
    uniformly distributed points in k dimensions, a share of 1 - 2^(-10^-k) is: 0.7 % for k = 2.

    Args:
      points: in units of posterior standard deviations, float32, shape [N, latents].
    """
    return min(1.0, _NEAR_SHARE * median_nearest_distance(points))


def _in_deviations(rows: EmbeddingRows) -> np.ndarray:
    """The means of all rows in units of posterior standard deviations, float32 [N, latents].

    Raises:
      WorkError: they do not fit into memory, or a variance is not a number.
    """
    size, free = 4 * len(rows) * rows.latents * _COPIES, memory.free_memory()
    if size > free:
        raise WorkError(
            f"near duplicates among {len(rows):,} rows need {memory.format_bytes(size)} of memory, "
            f"but {memory.format_bytes(free)} are free; embed and search a part of the images"
        )
    means, first = np.empty((len(rows), rows.latents), np.float32), 0
    variance = np.zeros(rows.latents)
    with np.errstate(all="ignore"):
        for block, log_variances in rows.vectors("mean", "log_variance"):
            means[first : first + len(block)] = block
            variance += np.exp(log_variances.astype(np.float64)).sum(axis=0)
            first += len(block)
        means /= np.sqrt(variance / max(1, len(rows))).astype(np.float32)
    if not np.isfinite(means).all():
        raise WorkError(
            f"the posterior variances in {rows.artifact.path} are too small or too large to "
            "compare distances with; train the model again"
        )
    return means


def _matches(
    rows: EmbeddingRows,
    numbers: Sequence[int] | np.ndarray,
    measures: Mapping[str, Sequence[float] | np.ndarray],
    *names: str,
) -> list[Match]:
    """The rows with some numbers, with their measures and with the columns that people read."""
    shown = [name for name in (*names, *_NAMES) if name in rows.columns]
    return [
        Match({**{name: float(each[at]) for name, each in measures.items()}, **values}, int(number))
        for at, (number, values) in enumerate(zip(numbers, rows.read(numbers, *shown), strict=True))
    ]

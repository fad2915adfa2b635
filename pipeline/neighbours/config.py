"""The settings of the neighbours stage."""

import dataclasses

from components.base.config import option
from components.base.errors import ConfigError
from components.ingest.conversion import BACKGROUNDS

# A contact sheet of more rows of images is too tall for most programs.
_MAX_COUNT = 200


@dataclasses.dataclass(frozen=True)
class NeighboursConfig:
    """Settings of the search."""

    count: int = option(
        10, f"number of neighbors, outliers or groups of near duplicates to list, to {_MAX_COUNT}"
    )
    threshold: float | None = option(
        None,
        "largest distance of near duplicates, in posterior standard deviations [a tenth of the "
        "median distance of a row to its nearest, at most 1]",
    )
    background: str | None = option(
        None,
        "color that transparent pixels of the query image are blended with [that of the embedded "
        "images, if their manifest says it, or black]",
        choices=tuple(BACKGROUNDS),
    )

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _MAX_COUNT:
            raise ConfigError(f"count must be from 1 to {_MAX_COUNT}. Received: {self.count}")
        if self.threshold is not None and self.threshold < 0:
            raise ConfigError(f"threshold must be at least 0. Received: {self.threshold:g}")

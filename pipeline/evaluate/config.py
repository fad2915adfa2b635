"""The settings of the evaluate stage."""

import dataclasses

from components.base.config import option
from components.base.errors import ConfigError, nearest
from pipeline.evaluate.metrics import ALWAYS, METRICS

FIGURE_FORMATS = ("png", "svg", "pdf")
_MAX_DRAWS = 1_000_000
_MAX_EXAMPLES = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Settings of the evaluation."""

    metrics: tuple[str, ...] = option(
        tuple(METRICS),
        f"what to measure: names separated by commas, of {', '.join(METRICS)}; "
        f"{', '.join(ALWAYS)} are always measured, and a metric that the model or the examples do "
        "not have is left out [all]",
    )
    draws: int = option(4, "number of draws of z per example, to average the distortion over")
    draws_seed: int = option(0, "random seed of all draws of z and of the samples from the prior")
    importance_samples: int = option(
        0,
        "number of draws of z per example to estimate the log-likelihood with, which takes as many "
        "passes through the decoder; 0: do not estimate it",
    )
    limit_examples: int = option(
        0, "for a quick look, score only the first N examples of the split; 0: score all"
    )
    figure_format: tuple[str, ...] = option(
        ("png",),
        f"formats of the files of the figures, separated by commas: {', '.join(FIGURE_FORMATS)}; "
        "the report has its own figures",
    )
    titles: bool = option(True, "draw the figures without titles, as papers need them")

    def __post_init__(self) -> None:
        for name in self.metrics:
            if name not in METRICS:
                raise ConfigError(f"unknown metric {name!r} in metrics; {nearest(name, METRICS)}")
        for name in self.figure_format:
            if name not in FIGURE_FORMATS:
                raise ConfigError(
                    f"figure_format must be of {', '.join(FIGURE_FORMATS)}. Received: {name!r}; "
                    f"{nearest(name, FIGURE_FORMATS)}"
                )
        formats = tuple(name for name in FIGURE_FORMATS if name in self.figure_format)
        object.__setattr__(self, "figure_format", formats)
        # Equal sets of metrics are equal settings.
        wanted = {*ALWAYS, *self.metrics}
        object.__setattr__(self, "metrics", tuple(name for name in METRICS if name in wanted))
        for name, largest in (
            ("importance_samples", _MAX_DRAWS),
            ("limit_examples", _MAX_EXAMPLES),
        ):
            if not 0 <= getattr(self, name) <= largest:
                raise ConfigError(
                    f"{name} must be from 0 to {largest:,}. Received: {getattr(self, name)}"
                )
        if not 1 <= self.draws <= _MAX_DRAWS or self.draws_seed < 0:
            raise ConfigError(
                f"draws must be from 1 to {_MAX_DRAWS:,}, and draws_seed at least 0. "
                f"Received: {self.draws}, {self.draws_seed}"
            )

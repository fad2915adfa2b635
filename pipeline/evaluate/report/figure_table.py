"""The numbers of a report: a few large ones at the top, and the table of all."""

import math
from collections.abc import Mapping

from components.metrics.mean import Mean
from pipeline.evaluate.metrics import METRICS

# The numbers at the top, the most informative first: those of the first that exist.
_HEADLINES = (
    "nll", "elbo", "bits_per_dim", "fid", "psnr", "knn_accuracy", "linear_probe_accuracy",
    "rate", "distortion",
)  # fmt: skip
_MAX_HEADLINES, _MAX_DIGITS = 5, 5


def headlines(means: Mapping[str, Mean]) -> list[dict[str, str]]:
    """The most informative numbers, each with `title`, `mean`, `half_width` and `unit`."""
    names = [name for name in _HEADLINES if name in means][:_MAX_HEADLINES]
    return [_row(name, means[name], digits=_few_digits(name, means[name])) for name in names]


def table(means: Mapping[str, Mean]) -> list[dict[str, str]]:
    """All numbers in the order of `METRICS`, each with an `interval`, too."""
    return [
        _row(name, mean, digits=METRICS[name].digits)
        for name, mean in ((name, means[name]) for name in METRICS if name in means)
    ]


def _few_digits(name: str, mean: Mean) -> int:
    """The number of decimals of a large number, which must fit into its card."""
    before = len(f"{abs(mean.value):.0f}")
    return max(0, min(METRICS[name].digits, _MAX_DIGITS - before))


def _row(name: str, mean: Mean, *, digits: int) -> dict[str, str]:
    metric, half_width = METRICS[name], mean.half_width
    row = {"title": metric.title, "unit": metric.unit, "mean": _number(mean.value, digits)}
    if not math.isfinite(half_width):
        return row | {"half_width": "", "interval": "none"}
    low, high = (_number(end, digits) for end in mean.interval)
    return row | {"half_width": f"± {half_width:,.{digits}f}", "interval": f"{low} to {high}"}


def _number(value: float, digits: int) -> str:
    """A number with a minus sign, never `−0.00`."""
    return f"{value:z,.{digits}f}".replace("-", "−")

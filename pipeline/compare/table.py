"""A comparison as text for a terminal of 80 columns."""

import math

from components.base.errors import one_line
from components.metrics.mean import Mean
from pipeline.compare.differences import Comparison, Difference
from pipeline.evaluate.metrics import METRICS

WIDTH = 80
_NAME, _MEAN = 28, 18  # Characters of the name of a run, and of its mean.

EXPLANATION = "A difference is the run minus the first one. * marks intervals that exclude 0."


def render(comparison: Comparison) -> str:
    """The comparison as lines of at most 80 characters."""
    lines = []
    for metric in comparison.metrics:
        described = METRICS[metric.name]
        lines.append(_cut(f"{described.title}, {described.unit}"))
        rows = zip(comparison.names, metric.means, metric.differences, strict=True)
        for name, mean, difference in rows:
            shown = "-" if mean is None else interval(mean, described.digits)
            changed = "" if difference is None else change(difference, described.digits)
            row = f"  {one_line(name, length=_NAME - 4):<{_NAME - 2}}{shown:>{_MEAN}}  {changed}"
            lines.append(_cut(row))
    lines += ["", EXPLANATION]
    for title, values in (
        ("Runs", comparison.facts),
        ("Settings that differ", comparison.settings),
    ):
        if values:
            lines += ["", f"{title}: {_cut(' | '.join(comparison.names), WIDTH - len(title) - 2)}"]
            lines += [
                _cut(f"  {name:<{_NAME - 2}}{' | '.join(each)}") for name, each in values.items()
            ]
    lines += [f"note: {note}" for note in comparison.notes]
    return "\n".join(lines)


def interval(mean: Mean, digits: int) -> str:
    """A mean and half its interval: `-12.34 ± 0.56`."""
    value = f"{mean.value:z.{digits}f}"
    return value if math.isinf(mean.half_width) else f"{value} ± {mean.half_width:.{digits}f}"


def change(difference: Difference, digits: int) -> str:
    """A difference with its sign, its interval, and how it was measured."""
    sign = "+" if difference.mean.value >= 0 else ""
    shown = f"{sign}{interval(difference.mean, digits)}"
    if math.isinf(difference.mean.half_width):
        return shown
    kind = "paired" if difference.is_paired else "not paired"
    mark = " *" if difference.is_clear else ""
    # The mark comes before the kind, so that a shortened line keeps it.
    return f"{shown}{mark} ({kind})"


def _cut(line: str, width: int = WIDTH) -> str:
    line = line.rstrip()
    return line if len(line) <= width else f"{line[: width - 1]}…"

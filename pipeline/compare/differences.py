"""How runs differ: in their settings, and in their scores with intervals.

If two runs scored the same images, their difference is averaged over the images: a paired
difference. It varies less than the scores themselves, since a difficult image is difficult for both
models. Otherwise the two samples are independent, and so are their errors.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from components.base import earlier_versions
from components.metrics.mean import Mean
from pipeline.compare.runs import ComparedRun
from pipeline.evaluate.metrics import METRICS
from pipeline.evaluate.scores import mean_as_json

# Metrics in units of the likelihood: under two likelihoods, they measure different quantities.
_OF_LIKELIHOOD = {"elbo", "distortion", "nll", "bits_per_dim"}
# Fields of `ScoringProtocol`, their descriptions, and the metrics that differ in meaning with them.
_DISTANCES = ("fid", "fid_aggregate", "fid_floor", "precision", "recall")
_PROTOCOL = {
    "importance_samples": ("number of importance samples", ("nll", "bits_per_dim")),
    "denoised_corruption": ("noise in the images", ("denoised_psnr", "denoised_ssim")),
    "feature_digest": (
        "classifier that gives features",
        (*_DISTANCES, "kid", "kid_aggregate", "kid_floor"),
    ),
    # The estimate of the kernel distance has no bias that depends on it.
    "samples": ("number of samples", _DISTANCES),
}


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference of a run from the first one in a metric.

    Attributes:
      mean: the run minus the first one, in the unit of the metric, with its 95 % interval.
      is_paired: whether each image is compared with itself.
    """

    mean: Mean
    is_paired: bool

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return abs(self.mean.value) > self.mean.half_width


@dataclasses.dataclass(frozen=True)
class MetricComparison:
    """A metric of all runs.

    Attributes:
      name: its name in `METRICS`.
      means: of each run; None for a run without it.
      differences: of each run from the first one; None for the first one, and where the two are not
        comparable.
    """

    name: str
    means: list[Mean | None]
    differences: list[Difference | None]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All differences of some runs.

    Attributes:
      names: of the runs.
      facts: by name, a value of each run: dataset, size, the findings of the doctor, duration.
      settings: by name, the value of each run, as text; only those that differ.
      metrics: those that at least one run has.
      notes: caveats for readers.
    """

    names: list[str]
    facts: dict[str, list[str]]
    settings: dict[str, list[str]]
    metrics: list[MetricComparison]
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """The comparison as a JSON value; an infinite half-width is null."""
        return {
            "runs": self.names,
            "facts": self.facts,
            "settings": self.settings,
            "metrics": {
                each.name: {
                    "means": [mean and mean_as_json(mean) for mean in each.means],
                    "differences": [
                        difference
                        and {**mean_as_json(difference.mean), "is_paired": difference.is_paired}
                        for difference in each.differences
                    ],
                }
                for each in self.metrics
            },
            "notes": self.notes,
        }


def compare(runs: Sequence[ComparedRun]) -> Comparison:
    """Compares runs with the first one."""
    first, *others = runs
    notes = [note for other in others for note in _notes(first, other)]
    return Comparison(
        names=[run.name for run in runs],
        facts={
            "dataset": [run.scores.dataset for run in runs],
            "images": [f"{run.scores.examples:,} {run.scores.split}" for run in runs],
            "parameters": [f"{run.counts.parameters:,}" for run in runs],
            "steps": [f"{run.counts.steps:,}" for run in runs],
            "doctor": [_findings(run) for run in runs],
            "training time": [f"{run.model.manifest.wall_seconds:,.0f} s" for run in runs],
        },
        settings=_settings(runs),
        metrics=[
            MetricComparison(
                name,
                [run.scores.means.get(name) for run in runs],
                [None, *(_difference(name, first, other) for other in others)],
            )
            for name in METRICS
            if any(name in run.scores.means for run in runs)
        ],
        notes=notes,
    )


def _findings(run: ComparedRun) -> str:
    """The codes of the doctor's findings; `-` if the doctor has not checked the model."""
    if run.scores.doctor is None:
        return "-"
    return ", ".join(finding.code for finding in run.scores.doctor) or "no findings"


def _settings(runs: Sequence[ComparedRun]) -> dict[str, list[str]]:
    """The settings of training and evaluation that differ, by name; `-` for a run without it."""
    configs = []
    for run in runs:
        train = earlier_versions.with_earlier("train", run.model.manifest.config)
        evaluate = earlier_versions.with_earlier("evaluate", run.evaluation.manifest.config)
        configs.append(train | {f"evaluate {name}": each for name, each in evaluate.items()})
    names = sorted(set().union(*configs))
    table = {
        name: [_text(config[name]) if name in config else "-" for config in configs]
        for name in names
    }
    return {name: values for name, values in table.items() if len(set(values)) > 1}


def _text(value: Any) -> str:
    """A setting as a user would type it."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value).replace("null", "none")


def _notes(first: ComparedRun, other: ComparedRun) -> list[str]:
    notes = []
    if first.examples is None or other.examples is None:
        old = first if first.examples is None else other
        notes.append(
            f"{old.name} was evaluated by an earlier version, without the scores of single "
            f"images: the differences of {other.name} are not paired; evaluate {old.name} again"
        )
    elif not _is_same_set(first, other):
        notes.append(
            f"{other.name} was evaluated on other images than {first.name}: its differences are "
            "those of two independent samples, and say as much about the images as about the models"
        )
    if not _has_same_likelihood(first, other):
        notes.append(
            f"{other.name} has the likelihood {_likelihood(other)}, and {first.name} "
            f"{_likelihood(first)}: nats of the two are of different quantities, and have no "
            "difference"
        )
    for field, (text, _) in _PROTOCOL.items():
        if names := _unlike(field, first, other):
            notes.append(
                f"{other.name} and {first.name} do not have the same {text}: no difference of "
                f"{', '.join(names)}"
            )
    return notes


def _difference(name: str, first: ComparedRun, other: ComparedRun) -> Difference | None:
    """The difference of a metric; None where a run does not have it or it is not comparable."""
    means = first.scores.means.get(name), other.scores.means.get(name)
    if means[0] is None or means[1] is None or not _is_comparable(name, first, other):
        return None
    differences = _paired(name, first, other)
    if differences is not None:
        return Difference(Mean.of(differences), is_paired=True)
    # The variances of independent means add up.
    half_width = math.hypot(means[0].half_width, means[1].half_width)
    return Difference(Mean(means[1].value - means[0].value, half_width), is_paired=False)


def _paired(name: str, first: ComparedRun, other: ComparedRun) -> np.ndarray | None:
    """The difference for each image, shape [N]; None if the runs did not score the same images."""
    if first.examples is None or other.examples is None or not _is_same_set(first, other):
        return None
    before, after = (each.by_name.get(name) for each in (first.examples, other.examples))
    if before is None or after is None:
        return None
    is_known = ~np.isnan(before)
    if not is_known.any() or not np.array_equal(is_known, ~np.isnan(after)):
        return None
    return (after - before)[is_known]


def _is_same_set(first: ComparedRun, other: ComparedRun) -> bool:
    """Whether two runs scored the same images in the same order."""
    return (
        first.examples is not None
        and other.examples is not None
        and first.examples.ids == other.examples.ids
        and first.examples.images == other.examples.images
    )


def _is_comparable(name: str, first: ComparedRun, other: ComparedRun) -> bool:
    if name in _OF_LIKELIHOOD and not _has_same_likelihood(first, other):
        return False
    return not any(name in _unlike(field, first, other) for field in _PROTOCOL)


def _unlike(field: str, first: ComparedRun, other: ComparedRun) -> list[str]:
    """The metrics that measure different quantities in two runs, because of their protocols."""
    values = [getattr(run.scores.protocol, field) for run in (first, other)]
    if values[0] == values[1]:
        return []
    both = first.scores.means.keys() & other.scores.means.keys()
    return [name for name in _PROTOCOL[field][1] if name in both]


def _has_same_likelihood(first: ComparedRun, other: ComparedRun) -> bool:
    return _likelihood(first) == _likelihood(other)


def _likelihood(run: ComparedRun) -> str:
    """The likelihood of a run, and its condition."""
    protocol = run.scores.protocol
    settings = earlier_versions.with_earlier("train", run.model.manifest.config)
    name = protocol.likelihood or settings["likelihood"]
    return f"{name} given the {protocol.given}" if protocol.given else name

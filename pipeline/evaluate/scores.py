"""The scores of a model on held-out examples: the content of metrics.json."""

import dataclasses
import math
from typing import Any

from components.base.manifest import Artifact
from components.metrics.mean import Mean

METRICS = ("elbo", "rate", "distortion")
_UNIT = "nats per example"


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of a model, in nats per example.

    Attributes:
      dataset: name of the dataset.
      preset: name of the preset that the model was trained with.
      split: name of the split that was scored.
      examples: number of examples in the split.
      draws: number of draws of z per example.
      elbo: -(rate + distortion).
      rate: KL(q(z|x) || p(z)).
      distortion: -E_q[log p(x|z)].
    """

    dataset: str
    preset: str
    split: str
    examples: int
    draws: int
    elbo: Mean
    rate: Mean
    distortion: Mean

    def metric(self, name: str) -> Mean:
        """The mean of one of `METRICS`."""
        return getattr(self, name)

    def as_json(self) -> dict[str, Any]:
        """The scores as the JSON value in metrics.json and in the manifest.

        An infinite half-width, which a single example has, is null: JSON has no infinity.
        """
        return {
            "dataset": self.dataset,
            "preset": self.preset,
            "split": self.split,
            "examples": self.examples,
            "draws": self.draws,
            "unit": _UNIT,
            **{name: _mean_as_json(self.metric(name)) for name in METRICS},
        }

    @staticmethod
    def of(evaluation: Artifact) -> "Scores":
        """The scores that an artifact of the evaluate stage holds.

        Raises:
          WorkError: its manifest is damaged.
        """
        counts = vars(evaluation.counts(_ScoresRecord))
        del counts["unit"]
        return Scores(**counts | {name: counts[name].as_mean() for name in METRICS})


@dataclasses.dataclass(frozen=True)
class _MeanRecord:
    """A mean in a manifest, in nats per example."""

    mean: float
    half_width_95: float | None

    def as_mean(self) -> Mean:
        return Mean(self.mean, math.inf if self.half_width_95 is None else self.half_width_95)


@dataclasses.dataclass(frozen=True)
class _ScoresRecord:
    """The scores in a manifest."""

    dataset: str
    preset: str
    split: str
    examples: int
    draws: int
    unit: str
    elbo: _MeanRecord
    rate: _MeanRecord
    distortion: _MeanRecord


def metric_title(name: str) -> str:
    """The name of a metric in text: `ELBO`, `rate` or `distortion`."""
    return "ELBO" if name == "elbo" else name


def _mean_as_json(mean: Mean) -> dict[str, float | None]:
    half_width = mean.half_width if math.isfinite(mean.half_width) else None
    return {"mean": mean.value, "half_width_95": half_width}

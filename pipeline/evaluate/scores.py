"""The scores of a model on held-out examples: the content of metrics.json."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

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
    def from_json(value: Mapping[str, Any]) -> "Scores":
        """The scores that `as_json` converted to a JSON value."""

        def mean(name: str) -> Mean:
            half_width = value[name]["half_width_95"]
            return Mean(value[name]["mean"], math.inf if half_width is None else half_width)

        return Scores(
            dataset=value["dataset"],
            preset=value["preset"],
            split=value["split"],
            examples=value["examples"],
            draws=value["draws"],
            elbo=mean("elbo"),
            rate=mean("rate"),
            distortion=mean("distortion"),
        )


def metric_title(name: str) -> str:
    """The name of a metric in text: `ELBO`, `rate` or `distortion`."""
    return "ELBO" if name == "elbo" else name


def _mean_as_json(mean: Mean) -> dict[str, float | None]:
    half_width = mean.half_width if math.isfinite(mean.half_width) else None
    return {"mean": mean.value, "half_width_95": half_width}

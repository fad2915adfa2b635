"""The scores of a model on held-out examples: the content of metrics.json."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from components.base.manifest import Artifact
from components.metrics.mean import Mean

NATS, BITS, DECIBELS = "nats per example", "bits per dimension", "dB"
LABELS = "fraction of labels"


@dataclasses.dataclass(frozen=True)
class Metric:
    """What a metric is called and measured in.

    Attributes:
      title: the name in text.
      unit: the unit in text.
      digits: how many digits are shown behind the point.
    """

    title: str
    unit: str
    digits: int = 2


# All metrics, in the order in which they are shown. An evaluation has some of them.
METRICS = {
    "elbo": Metric("ELBO", NATS),
    "rate": Metric("rate", NATS),
    "distortion": Metric("distortion", NATS),
    "nll": Metric("negative log-likelihood", NATS),
    "bits_per_dim": Metric("bits per dimension", BITS, digits=3),
    "psnr": Metric("PSNR of reconstructions", DECIBELS),
    "knn_accuracy": Metric("accuracy of the nearest neighbors", LABELS, digits=4),
}


@dataclasses.dataclass(frozen=True)
class ScoringProtocol:
    """How the scores were measured: what else decides their values. None where it does not apply.

    Attributes:
      likelihood: name of the model's likelihood.
      given: what all values are conditioned on: `label` if they are of p(x|y).
      binarization_seed: seed of the binarization of the images.
      importance_samples: number of draws per example for the log-likelihood.
      weights: which weights were evaluated, in words.
      examples_in_split: number of examples of the split, scored or not.
      psnr_examples: number of scored examples whose reconstructions the PSNR is of, evenly spaced.
      knn_k: number of nearest neighbors that predict a label.
      knn_splits: which splits they, their number and the predicted examples are from, in words.
      knn_examples: number of examples whose labels were predicted.
    """

    likelihood: str | None = None
    given: str | None = None
    binarization_seed: int | None = None
    importance_samples: int | None = None
    weights: str | None = None
    examples_in_split: int | None = None
    psnr_examples: int | None = None
    knn_k: int | None = None
    knn_splits: str | None = None
    knn_examples: int | None = None


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of a model.

    Attributes:
      dataset: name of the dataset.
      preset: name of the preset that the model was trained with.
      split: name of the split that was scored.
      examples: number of examples that were scored.
      draws: number of draws of z per example.
      means: the mean of each metric, by its name in `METRICS`:
        elbo: -(rate + distortion).
        rate: KL(q(z|x) || p(z)).
        distortion: -E_q[log p(x|z)].
        nll: -log p(x), estimated from above with importance samples, where they were asked for.
        bits_per_dim: the nll or, without it, the negative ELBO, for likelihoods over 256 levels.
        psnr: of reconstructions, in dB.
        knn_accuracy: the fraction of labels that the nearest neighbors of embeddings predict, where
          there are labels.
      protocol: how they were measured.
    """

    dataset: str
    preset: str
    split: str
    examples: int
    draws: int
    means: Mapping[str, Mean]
    protocol: ScoringProtocol = ScoringProtocol()

    def metric(self, name: str) -> Mean:
        """The mean of a metric."""
        return self.means[name]

    def how_measured(self) -> str:
        """How the scores were measured, in a sentence."""
        protocol = self.protocol
        parts = [f"{self.draws} draws of z per example for the ELBO"]
        if protocol.given:
            parts.append(
                f"the {protocol.given} of every example given: all figures are of p(x|y), not of "
                "p(x)"
            )
        if protocol.importance_samples:
            samples = protocol.importance_samples
            parts.append(f"{samples:,} importance samples per example for the log-likelihood")
        if protocol.binarization_seed is not None:
            parts.append(f"pixels binarized once, with seed {protocol.binarization_seed}")
        if protocol.psnr_examples and protocol.psnr_examples < self.examples:
            parts.append(
                f"{protocol.psnr_examples:,} evenly spaced examples for the PSNR, since the pixels "
                "of an image are decoded in turn"
            )
        if protocol.knn_k:
            parts.append(
                f"{protocol.knn_k} nearest neighbors among the embeddings, {protocol.knn_splits}, "
                f"for the labels of {protocol.knn_examples:,} examples"
            )
        if protocol.examples_in_split and self.examples < protocol.examples_in_split:
            parts.append(
                f"only the first {self.examples:,} of {protocol.examples_in_split:,} examples, "
                "which may be easier or harder than the rest"
            )
        return f"Measured with {'; '.join(parts)}."

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
            "unit": NATS,
            **{name: _mean_as_json(self.means[name]) for name in METRICS if name in self.means},
            "protocol": dataclasses.asdict(self.protocol),
        }

    @staticmethod
    def of(evaluation: Artifact) -> "Scores":
        """The scores that an artifact of the evaluate stage holds.

        Raises:
          WorkError: its manifest is damaged.
        """
        counts = vars(evaluation.counts(_ScoresRecord))
        del counts["unit"]
        records = {name: counts.pop(name) for name in METRICS}
        means = {name: record.as_mean() for name, record in records.items() if record is not None}
        return Scores(**counts, means=means)


@dataclasses.dataclass(frozen=True)
class _MeanRecord:
    """A mean in a manifest."""

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
    nll: _MeanRecord | None = None
    bits_per_dim: _MeanRecord | None = None
    psnr: _MeanRecord | None = None
    knn_accuracy: _MeanRecord | None = None
    # Evaluations of earlier versions have none.
    protocol: ScoringProtocol = ScoringProtocol()


def bits_per_dim(nats: Mean, dimensions: int) -> Mean:
    """A mean in nats per example as bits for each of its dimensions (pixels times channels)."""
    # 1 nat = 1 / ln 2 bits
    factor = 1 / (dimensions * math.log(2))
    return Mean(nats.value * factor, nats.half_width * factor)


def _mean_as_json(mean: Mean) -> dict[str, float | None]:
    half_width = mean.half_width if math.isfinite(mean.half_width) else None
    return {"mean": mean.value, "half_width_95": half_width}

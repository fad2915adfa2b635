"""The scores of a model on held-out examples: the content of metrics.json."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from components.base.manifest import Artifact
from components.metrics.doctor import Finding
from components.metrics.mean import Mean
from pipeline.evaluate.class_means import ClassMean
from pipeline.evaluate.metrics import ALWAYS, METRICS, NATS


@dataclasses.dataclass(frozen=True)
class ScoringProtocol:
    """How the scores were measured: what their values depend on. None if it does not apply.

    Attributes:
      likelihood: name of the model's likelihood.
      given: the condition of all values: `label` if they are of p(x|y).
      binarization_seed: seed of the binarization of the images.
      importance_samples: number of draws per example for the log-likelihood.
      weights: which weights were evaluated, in words.
      examples_in_split: number of examples of the split, scored or not.
      psnr_examples: number of scored examples whose reconstructions the PSNR is of, evenly spaced.
      denoised_corruption: the corruption of the images that are denoised, drawn with the published
        seed.
      denoised_examples: number of scored examples that are corrupted and denoised, evenly spaced.
      knn_k: number of nearest neighbors that predict a label.
      knn_splits: which splits they, their number and the predicted examples are from, in words.
      knn_examples: number of examples whose labels were predicted.
      linear_probe_penalty: the penalty of the squared weights of the linear probe.
      linear_probe_splits: which splits it, its penalty and the predicted examples are from, in
        words.
      linear_probe_examples: number of examples whose labels it predicted.
      information_examples: number of examples whose posteriors make up the aggregate posterior.
      information_draws: number of examples with a draw for the mutual information.
      samples: number of samples, and of the examples that they are compared with.
      samples_are: the definition of a sample, in words.
      floor_examples: number of train examples that take the place of the samples for the floors.
      feature_accuracy: fraction of held-out labels that the classifier predicts in whose features
        the samples are compared.
      feature_digest: the first digits of the SHA-256 digest of this classifier. Distances of equal
        digests can be compared.
    """

    likelihood: str | None = None
    given: str | None = None
    binarization_seed: int | None = None
    importance_samples: int | None = None
    weights: str | None = None
    examples_in_split: int | None = None
    psnr_examples: int | None = None
    denoised_corruption: str | None = None
    denoised_examples: int | None = None
    knn_k: int | None = None
    knn_splits: str | None = None
    knn_examples: int | None = None
    linear_probe_penalty: float | None = None
    linear_probe_splits: str | None = None
    linear_probe_examples: int | None = None
    information_examples: int | None = None
    information_draws: int | None = None
    samples: int | None = None
    samples_are: str | None = None
    floor_examples: int | None = None
    feature_accuracy: float | None = None
    feature_digest: str | None = None


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of a model.

    Attributes:
      dataset: name of the dataset.
      preset: name of the preset that the model was trained with.
      split: name of the split that was scored.
      examples: number of examples that were scored.
      draws: number of draws of z per example.
      means: each metric that was measured, by its name in `METRICS`.
      protocol: how they were measured.
      not_measured: why other metrics were not, by name; a part of a sentence.
      rate_per_dimension: the mean rate of each latent dimension in nats; None if it has no closed
        form.
      by_class: the means over the examples of each class, by metric and name of the class, for the
        metrics that single examples have; empty without labels.
      doctor: the doctor's findings; None if an earlier version evaluated the model.
    """

    dataset: str
    preset: str
    split: str
    examples: int
    draws: int
    means: Mapping[str, Mean]
    protocol: ScoringProtocol = ScoringProtocol()
    not_measured: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rate_per_dimension: list[float] | None = None
    by_class: Mapping[str, Mapping[str, ClassMean]] = dataclasses.field(default_factory=dict)
    doctor: list[Finding] | None = None

    def metric(self, name: str) -> Mean:
        """The mean of a metric."""
        return self.means[name]

    def measured_on(self) -> list[str]:
        """The examples and draws of the scores, in lines for a terminal of 80 columns."""
        protocol, which = self.protocol, f"{self.examples:,}"
        if protocol.examples_in_split and self.examples < protocol.examples_in_split:
            which = f"the first {which} of {protocol.examples_in_split:,}"
        lines = [f"measured on {which} {self.split} examples, {self.draws} draws of z each"]
        if protocol.given:
            lines.append(f"the {protocol.given} of every example is given: all is of p(x|y)")
        return lines

    def how_measured(self) -> str:
        """How the scores were measured, in a sentence for a page."""
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
        if protocol.denoised_corruption:
            parts.append(
                f"{protocol.denoised_examples:,} evenly spaced examples, corrupted once with "
                f"{protocol.denoised_corruption}, for the denoised images"
            )
        if protocol.knn_k:
            parts.append(
                f"{protocol.knn_k} nearest neighbors among the embeddings, {protocol.knn_splits}, "
                f"for the labels of {protocol.knn_examples:,} examples"
            )
        if protocol.linear_probe_penalty:
            parts.append(
                f"a linear probe of the embeddings, {protocol.linear_probe_splits}, with a penalty "
                f"of {protocol.linear_probe_penalty:g}"
            )
        if protocol.information_examples:
            examples = protocol.information_examples
            parts.append(
                f"{protocol.information_draws:,} draws against the posteriors of {examples:,} "
                f"examples for the mutual information, which is at most {math.log(examples):.2f} "
                "nats"
            )
        if protocol.samples:
            parts.append(
                f"{protocol.samples:,} samples, {protocol.samples_are}, against as many examples, "
                f"in the features of a classifier with an accuracy of "
                f"{protocol.feature_accuracy:.1%}"
            )
        if protocol.floor_examples:
            parts.append(f"{protocol.floor_examples:,} train examples for the floors")
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
            **{name: mean_as_json(self.means[name]) for name in METRICS if name in self.means},
            "protocol": dataclasses.asdict(self.protocol),
            "not_measured": dict(self.not_measured),
            "rate_per_dimension": self.rate_per_dimension,
            "by_class": {
                name: {
                    class_name: {**mean_as_json(each.mean), "examples": each.examples}
                    for class_name, each in classes.items()
                }
                for name, classes in self.by_class.items()
            },
            "doctor": None if self.doctor is None else list(map(dataclasses.asdict, self.doctor)),
        }

    @staticmethod
    def of(evaluation: Artifact) -> "Scores":
        """The scores that an artifact of the evaluate stage holds.

        Raises:
          WorkError: its manifest is damaged.
        """
        counts = dict(vars(evaluation.counts(_ScoresRecord)))
        del counts["unit"]
        records = {name: counts.pop(name) for name in METRICS}
        means = {name: record.as_mean() for name, record in records.items() if record is not None}
        by_class = {
            name: {
                class_name: ClassMean(each.as_mean(), each.examples)
                for class_name, each in classes.items()
            }
            for name, classes in counts.pop("by_class").items()
        }
        return Scores(**counts, means=means, by_class=by_class)


@dataclasses.dataclass(frozen=True)
class _MeanRecord:
    """A mean in a manifest."""

    mean: float
    half_width_95: float | None
    interval_95: tuple[float, float] | None = None

    def as_mean(self) -> Mean:
        half_width = math.inf if self.half_width_95 is None else self.half_width_95
        return Mean(self.mean, half_width, self.interval_95)


@dataclasses.dataclass(frozen=True)
class _ClassMeanRecord(_MeanRecord):
    """The mean over a class in a manifest."""

    examples: int = dataclasses.field(kw_only=True)


# The scores in a manifest. Evaluations of earlier versions lack the fields that have defaults.
_ScoresRecord = dataclasses.make_dataclass(
    "_ScoresRecord",
    [
        ("dataset", str),
        ("preset", str),
        ("split", str),
        ("examples", int),
        ("draws", int),
        ("unit", str),
        *((name, _MeanRecord) for name in ALWAYS),
        *((name, _MeanRecord | None, None) for name in METRICS if name not in ALWAYS),
        ("protocol", ScoringProtocol, ScoringProtocol()),
        ("not_measured", dict[str, str], dataclasses.field(default_factory=dict)),
        ("rate_per_dimension", list[float] | None, None),
        (
            "by_class",
            dict[str, dict[str, _ClassMeanRecord]],
            dataclasses.field(default_factory=dict),
        ),
        ("doctor", list[Finding] | None, None),
    ],
    frozen=True,
)


def mean_as_json(mean: Mean) -> dict[str, Any]:
    """A mean as a JSON value; with the ends of its interval if the mean is not in its middle.

    An infinite half-width is null: JSON has no infinity.
    """
    half_width = mean.half_width if math.isfinite(mean.half_width) else None
    ends = {} if mean.ends is None else {"interval_95": list(mean.ends)}
    return {"mean": mean.value, "half_width_95": half_width, **ends}

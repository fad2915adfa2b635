"""The subject and the results of measures, and their interface."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from etils import epath

from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset
from components.metrics.mean import Mean
from components.model.corruption import Corruption
from pipeline.evaluate import labeled_parts
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.report.subject import ComparedImages

if TYPE_CHECKING:
    from components.metrics.elbo import ElboTerms
    from components.model.vae import VAE


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model and the examples that it is measured on.

    Attributes:
      model: the model.
      dataset: the prepared dataset.
      split: name of the split whose examples are scored.
      examples: the scored examples: all of the split, or the first ones.
      tables: Parquet files with the embeddings of all examples of each split, in their order.
      config: the settings of the evaluation.
      directory: the draft of the evaluation, for files.
      corruption: the corruption of the images that the encoder saw in training; None for none.
    """

    model: "VAE"
    dataset: PreparedDataset
    split: str
    examples: ExampleBatch
    tables: Mapping[str, Sequence[epath.Path]]
    config: EvaluateConfig
    directory: epath.Path
    corruption: Corruption | None = None

    def wants(self, *names: str) -> bool:
        """Whether at least one of some metrics is asked for."""
        return not set(names).isdisjoint(self.config.metrics)

    @functools.cached_property
    def bound(self) -> "ElboTerms":
        """The terms of the ELBO of the scored examples."""
        from components.metrics.elbo import estimate_elbo

        return estimate_elbo(
            self.model,
            self.examples.images,
            self.examples.labels,
            seed=self.config.draws_seed,
            samples=self.config.draws,
        )

    @functools.cached_property
    def posteriors(self) -> tuple[np.ndarray, np.ndarray]:
        """The means and log-variances of the posteriors of the scored examples.

        They are those of the ELBO: of a model of binarized pixels, given the binarized images. Both
        are float32, shape [N, latents].
        """
        from components.metrics.elbo import observed
        from components.model.encode import encode

        return encode(self.model, observed(self.model, self.examples.images, first=0))

    @functools.cached_property
    def labeled_parts(self) -> labeled_parts.LabeledParts | None:
        """The embeddings that have labels; None if there are no two classes to tell apart."""
        return labeled_parts.read_files(
            self.tables, self.dataset.class_names, limit=self.config.limit_examples or None
        )

    @property
    def is_hierarchical(self) -> bool:
        """Whether the model has several levels of latents."""
        return self.model.architecture.levels > 1

    @property
    def rate_per_dimension(self) -> list[float] | None:
        """The mean rate of each latent dimension in nats; None if it has no closed form."""
        if not self.model.latent_model.has_closed_form_rates:
            return None
        return self.bound.rates.mean(axis=0, dtype=np.float64).tolist()


@dataclasses.dataclass(frozen=True)
class Measured:
    """The results of measures.

    Attributes:
      means: metrics by their names in `METRICS`. The half-width of one without an interval is
        infinite.
      by_example: metrics of the N scored examples, float64 [N], by name; NaN where an example is
        left out.
      protocol: fields of `ScoringProtocol`: how it was measured.
      not_measured: why metrics that are asked for do not exist, by name; a part of a sentence.
      comparisons: images that show what was measured, by the name of their figure.
    """

    means: Mapping[str, Mean] = dataclasses.field(default_factory=dict)
    by_example: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    protocol: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    not_measured: Mapping[str, str] = dataclasses.field(default_factory=dict)
    comparisons: Mapping[str, ComparedImages] = dataclasses.field(default_factory=dict)

    @staticmethod
    def merged(parts: Iterable["Measured"]) -> "Measured":
        """The results of several measures, joined."""
        names = [field.name for field in dataclasses.fields(Measured)]
        merged: dict[str, dict[str, Any]] = {name: {} for name in names}
        for part in parts:
            for name in names:
                merged[name].update(getattr(part, name))
        return Measured(**merged)

    def restricted(self, names: Iterable[str]) -> "Measured":
        """The same results for only some metrics."""
        kept = set(names)

        def part(values: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in values.items() if name in kept}

        return dataclasses.replace(
            self,
            means=part(self.means),
            by_example=part(self.by_example),
            not_measured=part(self.not_measured),
        )


class Measure(Protocol):
    """A group of metrics that are measured together.

    Attributes:
      names: their names in `METRICS`.
    """

    names: tuple[str, ...]

    def measure(self, subject: Subject) -> Measured:
        """Measures the metrics that the subject has; called if one of them is asked for."""

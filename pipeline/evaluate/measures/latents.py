"""The information in the latents: how many are in use, and how much they tell about the images."""

import math

import numpy as np

from components.metrics.active_units import active_units
from components.metrics.aggregate_posterior import example_information
from components.metrics.information_gap import information_gap
from components.metrics.mean import Mean
from components.sources.source import UNLABELLED
from pipeline.evaluate.measures.measure import Measured, Subject
from pipeline.evaluate.measures.representation import WITHOUT_LABELS

# In a hierarchy, the posterior of a level depends on the drawn latents of the levels above.
_IN_HIERARCHY = "the posteriors of a hierarchy of latents are not normal distributions"


class ActiveUnitsMeasure:
    """How many latent dimensions tell images apart."""

    names: tuple[str, ...] = ("active_units",)

    def measure(self, subject: Subject) -> Measured:
        means, _ = subject.posteriors
        # A count has no interval.
        return Measured({"active_units": Mean(float(active_units(means)), math.inf)})


class InformationMeasure:
    """The two parts of the rate: mutual information and marginal divergence, in nats."""

    names: tuple[str, ...] = ("mutual_information", "marginal_kl")

    def measure(self, subject: Subject) -> Measured:
        if subject.is_hierarchical:
            return Measured(not_measured=dict.fromkeys(self.names, _IN_HIERARCHY))
        found = example_information(*subject.posteriors, seed=subject.config.draws_seed)
        information, rate = Mean.of(found.values), Mean.of(subject.bound.rate)
        # E_x KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z))
        marginal = Mean(
            rate.value - information.value, math.hypot(rate.half_width, information.half_width)
        )
        return Measured(
            {"mutual_information": information, "marginal_kl": marginal},
            protocol={
                "information_examples": found.posteriors,
                "information_draws": len(found.values),
            },
        )


class GapMeasure:
    """Whether a single latent dimension encodes the label."""

    names: tuple[str, ...] = ("mig",)

    def measure(self, subject: Subject) -> Measured:
        if subject.is_hierarchical:
            return Measured(not_measured={"mig": _IN_HIERARCHY})
        class_names, labels = subject.dataset.class_names, subject.examples.labels
        is_label = np.array([name != UNLABELLED for name in class_names], bool)
        rows = np.flatnonzero(is_label[labels]) if len(class_names) else np.empty(0, np.int64)
        if len(np.unique(labels[rows])) < 2:
            return Measured(not_measured={"mig": WITHOUT_LABELS})
        means, log_variances = subject.posteriors
        gaps = information_gap(means[rows], log_variances[rows], labels[rows])
        return Measured({"mig": Mean.of(gaps)})

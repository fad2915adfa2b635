"""The likelihood of images: the ELBO with its terms, and estimates of log p(x)."""

import math

import numpy as np

from components.metrics.mean import Mean
from pipeline.evaluate import log_likelihood
from pipeline.evaluate.measures.measure import Measured, Subject

# Bits per dimension are reported for likelihoods over the levels of a byte only: those of binarized
# images describe other data.
_BYTE_LEVELS = 256


class LikelihoodMeasure:
    """How probable a model finds images, in nats; of a conditional model, given their labels."""

    names: tuple[str, ...] = ("elbo", "rate", "distortion", "nll", "bits_per_dim")

    def measure(self, subject: Subject) -> Measured:
        model, bound, samples = subject.model, subject.bound, subject.config.importance_samples
        has_bits = model.family.levels == _BYTE_LEVELS
        by_example = {"elbo": bound.elbo, "rate": bound.rate, "distortion": bound.distortion}
        protocol, not_measured = {}, {}
        if not samples:
            not_measured["nll"] = "it needs --importance_samples"
        elif subject.wants("nll") or (has_bits and subject.wants("bits_per_dim")):
            by_example["nll"] = -self._log_likelihoods(subject)
            protocol["importance_samples"] = samples
        by_example = {name: values.astype(np.float64) for name, values in by_example.items()}
        means = {name: Mean.of(values) for name, values in by_example.items()}
        if has_bits:
            nats = means["nll"] if "nll" in means else Mean.of(-by_example["elbo"])
            means["bits_per_dim"] = bits_per_dim(nats, math.prod(model.image_shape))
        else:
            not_measured["bits_per_dim"] = (
                f"the likelihood {model.architecture.likelihood} is not over the 256 levels of a "
                "byte"
            )
        return Measured(means, by_example, protocol=protocol, not_measured=not_measured)

    def _log_likelihoods(self, subject: Subject) -> np.ndarray:
        """Estimates of log p(x) in nats, float64 [N]."""
        return log_likelihood.estimate(
            subject.model,
            subject.examples.images,
            subject.examples.labels,
            samples=subject.config.importance_samples,
            seed=subject.config.draws_seed,
            directory=subject.directory,
        )


def bits_per_dim(nats: Mean, dimensions: int) -> Mean:
    """A mean in nats per example as bits for each of its dimensions (pixels times channels)."""
    # 1 nat = 1 / ln 2 bits
    factor = 1 / (dimensions * math.log(2))
    return Mean(nats.value * factor, nats.half_width * factor)

"""The quality of samples: how realistic they are, and how much of the images they cover."""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from components.base import console
from components.figures.mosaic import to_bytes
from components.metrics.frechet_distance import frechet_distance
from components.metrics.kernel_distance import kernel_distance
from components.metrics.mean import Mean
from components.metrics.precision_recall import NEIGHBORS, precision_and_recall
from components.model import embeddings
from components.model.embeddings import Embeddings
from components.model.samplers import FIT_EXAMPLES, AggregateSampler, PriorSampler, Sampler
from pipeline.evaluate.measures.measure import Measured, Subject

if TYPE_CHECKING:
    from components.metrics.feature_classifier import FeatureClassifier
    from components.model.vae import VAE

_MAX_SAMPLES = 10_000
# The largest number of turns of a head, over all samples: 167 samples of 28x28 pixels, in about a
# quarter of a minute on two cores of a CPU.
_MAX_TURNS = 1 << 17
# Fewer examples lack the neighbors that the manifolds need.
_LEAST_SAMPLES = NEIGHBORS + 1
_SAMPLES_ARE = "each the mean of the likelihood at a draw from the prior, in 256 levels"
_DIGITS = 16
_AGGREGATE = ("fid_aggregate", "kid_aggregate")


class GenerationMeasure:
    """Compares samples with the scored examples, in the features of a classifier.

    Samples are from the prior, and for two distances from the aggregate posterior.

    The floors are the distances of training images instead of samples: no model is expected to be
    below them.
    """

    names: tuple[str, ...] = (
        "fid", "fid_aggregate", "fid_floor", "kid", "kid_aggregate", "kid_floor",
        "precision", "recall",
    )  # fmt: skip

    def measure(self, subject: Subject) -> Measured:
        from pipeline.evaluate.feature_cache import classifier_of

        count = num_samples(subject.model, len(subject.examples))
        if count < _LEAST_SAMPLES:
            return self._nothing(f"it needs {_LEAST_SAMPLES} examples or more")
        found = classifier_of(subject.dataset)
        if found is None:
            return self._nothing(
                "it is measured in the features of a classifier, which needs labels of two or more "
                "classes"
            )
        classifier = found.classifier
        reference = classifier.features(subject.examples.images[:count])
        console.say(f"evaluate: comparing {console.counted(count, 'sample')} with examples")
        samples = sample_features(
            subject.model,
            classifier,
            subject.examples.labels[:count],
            seed=subject.config.draws_seed,
        )
        means = {
            "fid": frechet_distance(samples, reference),
            "kid": kernel_distance(samples, reference),
        }
        means["precision"], means["recall"] = precision_and_recall(samples, reference)
        of_aggregate = _of_aggregate(subject, classifier, reference)
        floors, num_train = _floors(subject, classifier, reference)
        digest = hashlib.sha256(classifier.to_bytes()).hexdigest()
        return Measured(
            {**means, **of_aggregate.means, **floors},
            protocol={
                "samples": count,
                "samples_are": _SAMPLES_ARE,
                "floor_examples": num_train or None,
                "feature_accuracy": found.score.accuracy,
                "feature_digest": digest[:_DIGITS],
            },
            not_measured={
                **of_aggregate.not_measured,
                **{
                    name: "it compares training images with those of another split"
                    for name in ("fid_floor", "kid_floor")
                    if name not in floors
                },
            },
        )

    def _nothing(self, reason: str) -> Measured:
        return Measured(not_measured=dict.fromkeys(self.names, reason))


def num_samples(model: "VAE", examples: int) -> int:
    """The number of samples that are compared with as many examples.

    It is bounded, and smaller for a head that decodes the pixels of an image in turn.
    """
    height, width, _ = model.image_shape
    within_turns = max(_LEAST_SAMPLES, _MAX_TURNS // model.head.turns(height, width))
    return min(examples, _MAX_SAMPLES, within_turns)


def sample_features(
    model: "VAE",
    classifier: "FeatureClassifier",
    labels: np.ndarray,
    *,
    seed: int,
    sampler: Sampler | None = None,
) -> np.ndarray:
    """The features of samples, one for each label, float32 [N, features].

    Args:
      model: the model.
      classifier: computes the features.
      labels: labels of the samples, for a conditional model, integers, shape [N].
      seed: seed of the draws.
      sampler: what latents are drawn from; None for the prior.
    """
    batches = _samples(model, labels, seed=seed, sampler=sampler or PriorSampler(model))
    return np.concatenate([classifier.features(images) for images in batches])


def _samples(
    model: "VAE", labels: np.ndarray, *, seed: int, sampler: Sampler
) -> Iterator[np.ndarray]:
    """Yields the samples in batches, uint8 [batch, height, width, channels]."""
    from components.model.decode import decode
    from components.model.pixels import batch_size

    # Independent of the draws of the figure of samples, which use the seed itself.
    rng = np.random.default_rng(np.random.SeedSequence([seed, len(labels)]))
    size = batch_size(model.image_shape)
    for first in range(0, len(labels), size):
        part = labels[first : first + size]
        yield to_bytes(decode(model, sampler.draw(len(part), rng, part), part))


def _of_aggregate(
    subject: Subject, classifier: "FeatureClassifier", reference: np.ndarray
) -> Measured:
    """The distances of samples from the density fitted to the aggregate posterior."""
    if not subject.wants(*_AGGREGATE):
        return Measured()
    if (reason := _no_aggregate(subject)) is not None:
        return Measured(not_measured=dict.fromkeys(_AGGREGATE, reason))
    samples = sample_features(
        subject.model,
        classifier,
        subject.examples.labels[: len(reference)],
        seed=subject.config.draws_seed,
        sampler=AggregateSampler.fit(_training_posteriors(subject)),
    )
    return Measured(
        {
            "fid_aggregate": frechet_distance(samples, reference),
            "kid_aggregate": kernel_distance(samples, reference),
        }
    )


def _no_aggregate(subject: Subject) -> str | None:
    """Why there is no density of the aggregate posterior to draw from; None if there is one."""
    if subject.is_hierarchical:
        return "the levels of a hierarchy have too many latents for a fit of their density"
    if subject.model.architecture.classes:
        return "the latents of all classes together do not have the labels that are decoded"
    return None if "train" in subject.tables else "there are no training examples"


def _training_posteriors(subject: Subject) -> Embeddings:
    """The posteriors of the first training examples, which are a random sample."""
    found: list[Embeddings] = []
    for path in subject.tables["train"]:
        found.append(embeddings.read(path))
        if sum(len(part.labels) for part in found) >= FIT_EXAMPLES:
            break
    labels, means, log_variances = (
        np.concatenate([getattr(part, name) for part in found])[:FIT_EXAMPLES]
        for name in ("labels", "means", "log_variances")
    )
    return Embeddings(
        [id for part in found for id in part.ids][:FIT_EXAMPLES], labels, means, log_variances
    )


def _floors(
    subject: Subject, classifier: "FeatureClassifier", reference: np.ndarray
) -> tuple[dict[str, Mean], int]:
    """The distances of training images to the reference, by name, and the number of the images."""
    dataset = subject.dataset
    wanted = subject.wants("fid_floor", "kid_floor")
    if not wanted or subject.split == "train" or dataset.num_examples("train") < _LEAST_SAMPLES:
        return {}, 0
    train = classifier.features(dataset.head("train", len(reference)).images)
    floors = {
        "fid_floor": frechet_distance(train, reference),
        "kid_floor": kernel_distance(train, reference),
    }
    return floors, len(train)

"""The findings of the doctor for an evaluated model: its rules, applied to the evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from components.base import earlier_versions
from components.base.arithmetic import ceil_div
from components.base.config import from_mapping
from components.base.manifest import Artifact
from components.metrics import doctor, doctor_images
from components.metrics.doctor import Finding
from components.metrics.mean import Mean
from components.model import embeddings
from components.model.embeddings import Embeddings
from pipeline.evaluate.measures.measure import Subject
from trainer import diagnosis
from trainer.build import TRAIN_SPLIT
from trainer.config import TrainConfig
from trainer.recording.epoch_metrics import EpochMetrics
from trainer.train_counts import TrainCounts

# Images of a batch, so that their sums in integers stay small.
_BATCH_SIZE = 1000


def findings(
    subject: Subject,
    means: Mapping[str, Mean],
    *,
    trained: Artifact,
    epochs: Sequence[EpochMetrics],
) -> list[Finding]:
    """The findings for an evaluated model, each with advice; empty if there are none.

    Args:
      subject: the model, and the examples that were scored.
      means: the scores by name, with `elbo` and `rate`, in nats.
      trained: the artifact of the model.
      epochs: the metrics of the epochs of its training.
    """
    images, split = subject.examples.images, subject.split
    config, kept = _train_config(trained), trained.counts(TrainCounts).kept
    baseline = diagnosis.baseline_elbo(subject.model.family, subject.dataset, TRAIN_SPLIT, images)
    elbo, rate = means["elbo"].value, means["rate"].value
    found = doctor.present(
        doctor.no_better_than_constant(elbo, kind=split, constant_elbo=baseline),
        doctor.posterior_collapse(rate, kind=split),
    )
    if split != TRAIN_SPLIT:
        train_nats = kept.train["rate"] + kept.train["distortion"]
        found += doctor.present(doctor.overfitting(train_nats, -elbo, kind=split))
    embedded = [embeddings.read(path) for path in subject.tables[split]]
    return [
        *doctor_images.of_images(_batches(images), kind=split),
        *diagnosis.loss_findings(
            epochs,
            published=kept.epoch,
            constant_elbo=baseline,
            warmup_steps=_warmup_steps(config, epochs[-1]),
            beta=config.beta,
        ),
        *found,
        *doctor.present(
            doctor.dead_units(_variances(embedded)),
            doctor.exploding_log_variance(
                np.concatenate([part.log_variances for part in embedded])
            ),
        ),
    ]


def _train_config(trained: Artifact) -> TrainConfig:
    """The settings of a model, perhaps one of an earlier version."""
    settings = earlier_versions.with_earlier("train", trained.manifest.config)
    known: dict[str, Any] = {
        name: value
        for name, value in settings.items()
        if name in {"epochs", "warmup_steps", "warmup_share", "beta"}
    }
    return from_mapping(TrainConfig, known, where=str(trained.path))


def _warmup_steps(config: TrainConfig, last: EpochMetrics) -> int:
    """The warm-up steps of a run, from its last epoch; the run may have been stopped early."""
    return config.warmup_of(config.epochs * ceil_div(last.step, last.epoch))


def _variances(embedded: Sequence[Embeddings]) -> np.ndarray:
    """The variance of each latent dimension of embeddings, float64, shape [latents]."""
    return np.concatenate([part.means for part in embedded]).var(axis=0, dtype=np.float64)


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(images), _BATCH_SIZE):
        yield images[first : first + _BATCH_SIZE]

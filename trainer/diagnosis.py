"""The findings of the doctor at the end of a run: its rules, applied to the numbers of the run."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from components.base.arithmetic import ceil_div
from components.data.prepared_dataset import PreparedDataset
from components.metrics import doctor, doctor_images
from components.metrics.constant_baseline import constant_elbo, mean_image
from components.metrics.doctor import Finding
from components.model.likelihoods.bernoulli import BernoulliFamily
from components.model.likelihoods.likelihood import Family
from trainer.recording.epoch_metrics import EpochMetrics

# The training images whose mean is the constant image. They are a random sample, and the mean of
# this many costs about 0.01 nats per thousand pixels more than that of all images.
_BASELINE_IMAGES = 10_000
_BASELINE_BYTES = 256 << 20


def baseline_elbo(
    family: Family, examples: PreparedDataset, split: str, heldout: np.ndarray | None
) -> float | None:
    """The ELBO of the best constant image, in nats per image.

    It is known for Bernoulli pixels, binarized or not: the expected log-likelihood of a binarized
    pixel is that of its intensity. None for other likelihoods.

    Args:
      family: the likelihood of the model.
      examples: the prepared dataset.
      split: name of the training split.
      heldout: images to measure it on, uint8, shape [N, height, width, channels]; None for the
        training images themselves.
    """
    if not isinstance(family, BernoulliFamily):
        return None
    mean = mean_image(_first_batches(examples, split))
    return constant_elbo(mean, mean if heldout is None else mean_image([heldout]))


def findings(
    kept: EpochMetrics,
    *,
    history: Sequence[EpochMetrics],
    constant_elbo: float | None,
    warmup_steps: int,
    beta: float,
) -> list[Finding]:
    """The findings for a trained model, each with advice; empty if there are none.

    Args:
      kept: metrics of the epoch whose model is published.
      history: metrics of all epochs of the run.
      constant_elbo: ELBO of the best constant image, in nats per image, on the held-out images or,
        if the epoch has no held-out losses, on the training images; None if it is not known for the
        likelihood of the model.
      warmup_steps: number of steps of the warm-up.
      beta: the largest beta of the run.
    """
    losses, kind = (kept.train, "train") if kept.heldout is None else (kept.heldout, "held-out")
    nats = _nats(losses)
    return [
        *loss_findings(
            history,
            published=kept.epoch,
            constant_elbo=constant_elbo,
            warmup_steps=warmup_steps,
            beta=beta,
        ),
        *doctor.present(
            doctor.no_better_than_constant(-nats, kind=kind, constant_elbo=constant_elbo),
            doctor.posterior_collapse(losses["rate"], kind=kind),
            # Without held-out images, the two are the same.
            doctor.overfitting(_nats(kept.train), nats, kind=kind),
        ),
    ]


def loss_findings(
    history: Sequence[EpochMetrics],
    *,
    published: int,
    constant_elbo: float | None,
    warmup_steps: int,
    beta: float,
) -> list[Finding]:
    """The findings about the losses of a run.

    Args:
      history: metrics of all epochs of the run.
      published: number of the epoch whose model is published.
      constant_elbo: ELBO of the best constant image, in nats per image; None if it is not known.
      warmup_steps: number of steps of the warm-up.
      beta: the largest beta of the run.
    """
    nats = [_nats(row.train) for row in history]
    return doctor.present(
        doctor.diverged(nats, published=published, constant_elbo=constant_elbo),
        doctor.warmup_unfinished(warmup_steps, steps=history[-1].step),
        doctor.beta_unfinished(history[-1].beta, beta=beta),
        doctor.underfitting(nats),
    )


def image_findings(examples: PreparedDataset, split: str) -> list[Finding]:
    """Findings about the first images of a training split."""
    return doctor_images.of_images(_first_batches(examples, split), kind="training")


def _nats(losses: dict[str, float]) -> float:
    """Rate plus distortion, which is the loss with a beta of 1, in nats per image."""
    return losses["rate"] + losses["distortion"]


def _first_batches(examples: PreparedDataset, split: str) -> Iterator[np.ndarray]:
    """The images of the first batches of a split; prepare has put the examples in random order."""
    batches = (batch.images for batch in examples.batches(split))
    first = next(batches)
    # All batches have about 1 MiB.
    limit = min(ceil_div(_BASELINE_IMAGES, len(first)), ceil_div(_BASELINE_BYTES, first.nbytes))
    return itertools.chain([first], itertools.islice(batches, limit - 1))

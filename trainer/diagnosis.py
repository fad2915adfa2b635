"""Signs that a run has failed although it ended: one line each, for the user and the manifest."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from components.base.arithmetic import ceil_div
from components.data.prepared_dataset import PreparedDataset
from components.metrics.constant_baseline import constant_elbo, mean_image
from components.model.likelihoods.bernoulli import BernoulliFamily
from components.model.likelihoods.likelihood import Family
from trainer.recording.epoch_metrics import EpochMetrics

# A rate below this many nats per image counts as a collapsed posterior: with so little information,
# a decoder can hardly choose between two images.
COLLAPSED_NATS = 0.1

# Rate plus distortion of this many times that of an earlier epoch counts as diverged. The schedules
# of beta and of the learning rate cause smaller rises.
_DIVERGED = 2.0

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
) -> list[str]:
    """What is wrong with a trained model, and what to try; empty if nothing is.

    Args:
      kept: metrics of the epoch whose model is published.
      history: metrics of all epochs of the run.
      constant_elbo: ELBO of the best constant image, in nats per image, on the held-out images or,
        if the epoch has no held-out losses, on the training images; None if it is not known for the
        likelihood of the model.
      warmup_steps: number of steps of the warm-up.
    """
    steps = history[-1].step
    losses, kind = (kept.train, "train") if kept.heldout is None else (kept.heldout, "held-out")
    elbo, rate = -_nats(losses), losses["rate"]
    notes = []
    lowest, last = min(history, key=lambda row: _nats(row.train)), history[-1]
    # The nats of a density may be negative: they rise by as much as if they doubled.
    limit = _nats(lowest.train) + (_DIVERGED - 1) * abs(_nats(lowest.train))
    if constant_elbo is not None:
        limit = max(limit, -constant_elbo)
    if _nats(last.train) > limit:
        notes.append(
            f"the training diverged: {_nats(lowest.train):,.2f} nats in epoch {lowest.epoch} rose "
            f"to {_nats(last.train):,.2f} in the last one, {last.epoch}, and the model of epoch "
            f"{kept.epoch} is published: try a lower learning rate, or clip_norm"
        )
    if constant_elbo is not None and elbo <= constant_elbo:
        notes.append(
            f"the {kind} ELBO of {elbo:,.2f} nats is no better than that of a constant image "
            f"({constant_elbo:,.2f} nats): train for more epochs, or change the learning rate"
        )
    if rate < COLLAPSED_NATS:
        notes.append(
            f"the {kind} rate of {rate:.2g} nats is near 0, so the latents carry no information "
            "(posterior collapse): try a smaller beta, beta_schedule linear, or free_bits"
        )
    if warmup_steps and warmup_steps >= steps:
        notes.append(
            f"the warm-up of {warmup_steps:,} steps did not end within the {steps:,} steps of the "
            "run, so the learning rate stayed below its peak: use a smaller warmup_share"
        )
    return notes


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

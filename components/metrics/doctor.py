"""The doctor: finds what is wrong with a trained model, from numbers measured elsewhere.

Each rule is a function of a few numbers. It returns a finding, or None if the numbers are those of
a healthy model. The trainer and the evaluation apply the same rules; the texts end with the setting
that usually helps.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from components.metrics.active_units import ACTIVE_VARIANCE

# The severities: the training has failed; or it has not, but a better model is within reach.
ERROR, WARNING = "error", "warning"

# A rate below this many nats per image counts as a collapsed posterior: with so little information,
# a decoder can hardly choose between two images.
COLLAPSED_NATS = 0.1

# The best models of Fashion-MNIST leave two thirds of their latents unused.
_DEAD_SHARE = 0.75

# The natural logarithm of a posterior's variance, where the prior's variance is 1: a standard
# deviation of 20. Draws from a posterior that is much wider than the prior say nothing about the
# image, but its divergence from the prior counts as rate.
_EXPLODED_LOG_VARIANCE = 6.0

# Rate plus distortion of this many times that of an earlier epoch counts as diverged. The schedules
# of beta and of the learning rate cause smaller rises.
_DIVERGED = 2.0

# The gap between held-out and training images, and the progress of one epoch, as fractions of rate
# plus distortion of the training images.
_OVERFITTED = 0.1
_UNFINISHED = 0.01


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that is wrong with a model.

    Attributes:
      code: short name of the rule, for programs.
      severity: `error` or `warning`.
      text: what was found, and what usually helps, in a line.
    """

    code: str
    severity: str
    text: str


def diverged(
    train_nats: Sequence[float], *, published: int, constant_elbo: float | None
) -> Finding | None:
    """Whether the loss of the last epoch has exploded.

    Args:
      train_nats: rate plus distortion of the training images in each epoch, in nats per image.
      published: number of the epoch whose model is published, counted from 1.
      constant_elbo: ELBO of the best constant image, in nats per image; None if it is not known.
    """
    lowest, last = int(np.argmin(train_nats)), train_nats[-1]
    # The nats of a density may be negative: they rise by as much as if they doubled.
    limit = train_nats[lowest] + (_DIVERGED - 1) * abs(train_nats[lowest])
    if constant_elbo is not None:
        limit = max(limit, -constant_elbo)
    if last <= limit:
        return None
    return Finding(
        "diverged",
        ERROR,
        f"the training diverged: {train_nats[lowest]:,.2f} nats in epoch {lowest + 1} rose to "
        f"{last:,.2f} in the last epoch, {len(train_nats)}; the model of epoch {published} is "
        "published: try a lower learning rate, or clip_norm",
    )


def no_better_than_constant(
    elbo: float, *, kind: str, constant_elbo: float | None
) -> Finding | None:
    """Whether a model that predicts one constant image would be as good.

    Args:
      elbo: in nats per image.
      kind: the images that the ELBO is of, such as `held-out`.
      constant_elbo: ELBO of the best constant image on them, in nats; None if it is not known.
    """
    if constant_elbo is None or elbo > constant_elbo:
        return None
    return Finding(
        "no_better_than_constant",
        ERROR,
        f"the {kind} ELBO of {elbo:,.2f} nats is no better than that of a constant image "
        f"({constant_elbo:,.2f} nats): train for more epochs, or change the learning rate",
    )


def posterior_collapse(rate: float, *, kind: str) -> Finding | None:
    """Whether the latents carry no information.

    Args:
      rate: in nats per image.
      kind: the images that the rate is of, such as `held-out`.
    """
    if rate >= COLLAPSED_NATS:
        return None
    return Finding(
        "posterior_collapse",
        ERROR,
        f"the {kind} rate of {rate:.2g} nats is near 0, so the latents carry no information "
        "(posterior collapse): try a smaller beta, beta_schedule linear, or free_bits",
    )


def warmup_unfinished(warmup_steps: int, *, steps: int) -> Finding | None:
    """Whether the learning rate was still rising at the end of a run of `steps` steps."""
    if not warmup_steps or warmup_steps < steps:
        return None
    return Finding(
        "warmup_unfinished",
        WARNING,
        f"the warm-up of {warmup_steps:,} steps did not end within the {steps:,} steps of the run, "
        "so the learning rate stayed below its peak: use a smaller warmup_share",
    )


def beta_unfinished(reached: float, *, beta: float) -> Finding | None:
    """Whether beta was still rising in the last step.

    Args:
      reached: beta in the last step of the run.
      beta: the largest beta of its schedule.
    """
    # The last step of a schedule that ends with the run is one step short of it.
    if reached >= 0.99 * beta:
        return None
    return Finding(
        "beta_unfinished",
        WARNING,
        f"the warm-up of beta did not end: the run stopped at {reached:.2g} of {beta:g}, so the "
        "rate hardly counted in the loss: use a smaller beta_warmup_share, or a larger patience",
    )


def overfitting(train_nats: float, heldout_nats: float, *, kind: str) -> Finding | None:
    """Whether the model knows its training images much better than others.

    Args:
      train_nats: rate plus distortion of the training images, in nats per image.
      heldout_nats: of the held-out images.
      kind: what the held-out images are, such as `test`.
    """
    gap = heldout_nats - train_nats
    if gap <= _OVERFITTED * max(abs(train_nats), 1.0):
        return None
    return Finding(
        "overfitting",
        WARNING,
        f"{kind} images take {gap:,.2f} nats more than training images ({heldout_nats:,.2f} and "
        f"{train_nats:,.2f}), so the model has memorized its training images: use more "
        "images, a smaller network, weight_decay, or patience",
    )


def underfitting(train_nats: Sequence[float]) -> Finding | None:
    """Whether the loss was still falling fast in the last epoch.

    Args:
      train_nats: rate plus distortion of the training images in each epoch, in nats per image.
    """
    if len(train_nats) < 2:
        return None
    before, last = train_nats[-2:]
    progress = (before - last) / max(abs(before), 1.0)
    if progress <= _UNFINISHED:
        return None
    return Finding(
        "underfitting",
        WARNING,
        "the last epoch still lowered rate plus distortion of the training images by "
        f"{progress:.1%}, from {before:,.2f} to {last:,.2f} nats, so the model can become better: "
        "train for more epochs",
    )


def dead_units(variances: np.ndarray) -> Finding | None:
    """Whether most latent dimensions are unused, but not all: that is a collapsed posterior.

    Args:
      variances: of the embeddings over the images, by latent dimension, shape [latents].
    """
    dead, latents = int(np.count_nonzero(variances <= ACTIVE_VARIANCE)), len(variances)
    if not _DEAD_SHARE * latents < dead < latents:
        return None
    return Finding(
        "dead_units",
        WARNING,
        f"{dead:,} of {latents:,} latents are dead: their embeddings vary by at most "
        f"{ACTIVE_VARIANCE} over the images: use fewer latents, a smaller beta, or free_bits",
    )


def exploding_log_variance(log_variances: np.ndarray) -> Finding | None:
    """Whether posteriors are absurdly wide.

    Args:
      log_variances: natural logarithms of the variances of the posteriors, shape [N, latents].
    """
    widest = log_variances.max(axis=0)
    exploded = int(np.count_nonzero(widest > _EXPLODED_LOG_VARIANCE))
    if not exploded:
        return None
    return Finding(
        "exploding_log_variance",
        ERROR,
        f"the log-variance of a posterior reaches {widest.max():.1f}, and that of {exploded:,} of "
        f"{len(widest):,} latents exceeds {_EXPLODED_LOG_VARIANCE:g}, so draws of them are noise: "
        "try a lower learning rate, clip_norm, or precision float32",
    )


def present(*findings: Finding | None) -> list[Finding]:
    """The findings that there are."""
    return [finding for finding in findings if finding is not None]

"""Encoding and scoring of many images, computed in batches of one size."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.model.batching import in_batches
from components.model.noise import binarize_for_evaluation
from components.model.pixels import to_unit
from components.model.stream_batches import stream_batch_size
from components.model.vae import VAE


@dataclasses.dataclass(frozen=True)
class ScoredPosteriors:
    """The posteriors of N images, and the terms of their ELBOs.

    Attributes:
      means: posterior means, which are the embeddings; float32, shape [N, latents].
      log_variances: posterior log-variances, float32, shape [N, latents].
      rate: KL(q(z|x) || p(z)) in nats, float32, shape [N]. Without a closed form, it is that at the
        drawn z, log q(z|x) - log p(z), whose mean is the rate.
      distortion: -log p(x|z) at the drawn z, in nats, float32, shape [N].
    """

    means: np.ndarray
    log_variances: np.ndarray
    rate: np.ndarray
    distortion: np.ndarray

    @property
    def elbo(self) -> np.ndarray:
        """-(rate + distortion) in nats, float32, shape [N]."""
        return -(self.rate + self.distortion)


def encode(vae: VAE, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The posterior means (the embeddings) and log-variances of images.

    Args:
      vae: the model.
      images: uint8, shape [N, height, width, channels], N > 0.

    Returns:
      Means and log-variances, both float32, shape [N, latents].
    """
    function = _encode if vae.is_convolutional else _encode_compiled
    means, log_variances = _computed(vae, function, [images])
    return means, log_variances


def encode_and_score(
    vae: VAE,
    images: np.ndarray,
    noise: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    first: int = 0,
) -> ScoredPosteriors:
    """The posteriors of images, and the terms of the ELBO for one draw of z per image.

    The posterior is that of the intensities. A model of binarized pixels is scored on the
    binarization of evaluation sets.

    Args:
      vae: the model.
      images: uint8, shape [N, height, width, channels], N > 0.
      noise: standard normal, float32, shape [N, latents].
      labels: integers, shape [N], for a conditional model.
      first: number of the first image in its set, for the binarization.
    """
    inputs: list[np.ndarray | None] = [images, None, noise, None]
    if vae.family.binarizes:
        inputs[1] = binarize_for_evaluation(images, first=first)
    if vae.architecture.classes:
        inputs[3] = labels
    function = _score if vae.is_convolutional else _score_compiled
    return ScoredPosteriors(*_computed(vae, function, inputs))


def _computed(
    vae: VAE, function: Callable[..., Any], inputs: Sequence[np.ndarray | None]
) -> list[np.ndarray]:
    """The results of a function of the model and a batch of each input, for all batches."""
    size = stream_batch_size(vae)
    return in_batches(functools.partial(function, vae), inputs, size=size, pads=True)


def _posterior(vae: VAE, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    posterior = vae.posterior(to_unit(batch))
    return posterior.mean, posterior.log_variance


def _scored(
    vae: VAE,
    batch: tf.Tensor,
    binarized: tf.Tensor | None,
    noise: tf.Tensor,
    labels: tf.Tensor | None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    intensities = to_unit(batch)
    posterior = vae.posterior(intensities)
    observed = intensities if binarized is None else binarized
    rates, distortion = vae.rates_and_distortion(observed, noise, labels)
    return posterior.mean, posterior.log_variance, tf.reduce_sum(rates, axis=-1), distortion


# At module level, so that a model is traced once. On a CPU, XLA makes matrix products and
# elementwise operations faster, and convolutions slower.
_encode = tf.function(_posterior, reduce_retracing=True, autograph=False)
_encode_compiled = tf.function(_posterior, autograph=False, jit_compile=True)
_score = tf.function(_scored, reduce_retracing=True, autograph=False)
_score_compiled = tf.function(_scored, autograph=False, jit_compile=True)

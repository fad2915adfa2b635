"""A trained VAE as the coder needs it: posteriors, the prior's couplings, and pixels in turn.

All networks run on the CPU in float32, in batches whose sizes the format fixes.
"""

from typing import Protocol

import numpy as np
import tensorflow as tf

from components.base.shapes import Shape
from components.compression.causal_steps import CausalSteps, CausalWeights
from components.compression.latents import Coupling
from components.model.heads.causal import CausalHead
from components.model.pixels import to_unit
from components.model.priors.flow import RealNVP
from components.model.vae import VAE

_CPU = "/CPU:0"
# That of `components.model.priors.flow`.
_LOG_SCALE_BOUND = 2.0


class Steps(Protocol):
    """The outputs at the pixels of N images, in order: row by row, and each from the left."""

    def outputs(self, row: int, columns: range) -> np.ndarray:
        """The likelihood's parameters at pixels of a row, float64 [columns, N, outputs].

        All pixels before the last of them are known.
        """

    def set(self, row: int, columns: range, levels: np.ndarray) -> None:
        """Makes pixels known: their levels from 0 to 255, int [columns, N, channels]."""


class FactorizedSteps:
    """The steps of a factorized head, whose outputs do not depend on pixels.

    Args:
      features: of the decoder, shape [N, height, width, outputs].
    """

    def __init__(self, features: np.ndarray):
        self._features = features

    def outputs(self, row: int, columns: range) -> np.ndarray:
        """See `Steps.outputs`."""
        outputs = self._features[:, row, columns.start : columns.stop]
        return outputs.astype(np.float64).transpose(1, 0, 2)

    def set(self, row: int, columns: range, levels: np.ndarray) -> None:
        """See `Steps.set`."""


class CodedModel:
    """A VAE with one level of latents and a likelihood of 256 levels.

    Args:
      vae: the model, in float32, which `suitability.check` accepts.
    """

    def __init__(self, vae: VAE):
        self._vae = vae
        self._head = None
        if isinstance(vae.head, CausalHead):
            self._head = CausalWeights(vae.head, vae.architecture.activation)
        prior = vae.prior
        numbers = range(len(prior.conditioners)) if isinstance(prior, RealNVP) else ()
        # From the latents to the base space, where the prior is standard normal.
        self.couplings: list[Coupling] = [FlowCoupling(prior, number) for number in numbers]
        self.components: int = vae.family.components  # type: ignore[attr-defined]

    @property
    def image_shape(self) -> Shape:
        """(height, width, channels) of the images."""
        return self._vae.image_shape

    @property
    def latents(self) -> int:
        """Number of latent dimensions."""
        return self._vae.latents

    def posterior(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The means and the standard deviations of the posteriors, float64 [N, latents].

        Args:
          images: uint8, shape [N, height, width, channels].
        """
        with tf.device(_CPU):
            posterior = self._vae.posterior(tf.constant(to_unit(images)))
            return _float64(posterior.mean), _float64(tf.exp(0.5 * posterior.log_variance))

    def features(self, z: np.ndarray) -> np.ndarray:
        """The decoder's features, float32 [N, height, width, features].

        Args:
          z: latents, float64 [N, latents].
        """
        with tf.device(_CPU):
            return np.asarray(self._vae.latent_model.decode(tf.constant(z, tf.float32)))

    def steps(self, features: np.ndarray) -> Steps:
        """The pixels in turn, given the decoder's features."""
        if self._head is None:
            return FactorizedSteps(features)
        return CausalSteps(self._head, features)


def _float64(tensor: tf.Tensor) -> np.ndarray:
    return np.asarray(tensor).astype(np.float64)


class FlowCoupling:
    """A coupling of `RealNVP`.

    Args:
      prior: the flow.
      number: of the coupling.
    """

    def __init__(self, prior: RealNVP, number: int):
        halves = range(prior.latents // 2), range(prior.latents // 2, prior.latents)
        self._kept, self.moved = halves[number % 2], halves[1 - number % 2]
        self._conditioner = prior.conditioners[number]

    def amounts(self, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Coupling.amounts`."""
        kept = latents[:, self._kept.start : self._kept.stop]
        # A single latent is conditioned on a constant.
        condition = kept if len(self._kept) else np.ones((len(latents), 1))
        with tf.device(_CPU):
            outputs = _float64(self._conditioner(tf.constant(condition, tf.float32)))
        raw, shifts = np.split(outputs, 2, axis=1)
        return _LOG_SCALE_BOUND * np.tanh(raw / _LOG_SCALE_BOUND), shifts

"""A trained VAE as the entropy coder sees it: coders of its latents and of its pixels.

All networks run on the CPU in float32, in batches whose sizes the format fixes.
"""

from typing import Protocol

import numpy as np

from components.base.shapes import Shape
from components.compression.ans import Message
from components.compression.causal_steps import CausalSteps, CausalWeights
from components.compression.hierarchy import HierarchyLatents
from components.compression.one_level import OneLevelLatents
from components.model.heads.causal import CausalHead
from components.model.ladder import Ladder
from components.model.vae import VAE


class LatentCoder(Protocol):
    """The latents of N images on the first N lanes of a message.

    Latents are in steps, int64 [N, latents]; labels, int64 [N], are read if the model is
    conditioned on them.
    """

    def pop_posterior(
        self, message: Message, images: np.ndarray, labels: np.ndarray, step: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Takes latents under the posterior of images.

        Returns:
          The latents, and the decoder's features, float32 [N, height, width, features].
        """

    def push_prior(self, message: Message, z: np.ndarray, labels: np.ndarray, step: float) -> None:
        """Puts latents under the prior.

        Raises:
          RangeError: they are so unlikely that they cannot be coded.
        """

    def pop_prior(
        self, message: Message, labels: np.ndarray, step: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Takes latents under the prior: what `push_prior` undoes; returns as `pop_posterior`."""

    def push_posterior(
        self, message: Message, z: np.ndarray, images: np.ndarray, step: float
    ) -> None:
        """Puts latents under the posterior of images: what `pop_posterior` undoes.

        Raises:
          RangeError: the posterior does not give such latents.
        """


class PixelSteps(Protocol):
    """The outputs at the pixels of N images, in order: row by row, and each from the left."""

    def outputs(self, row: int, columns: range) -> np.ndarray:
        """The likelihood's parameters at pixels of a row, float64 [columns, N, outputs].

        All pixels before the last of them are known.
        """

    def set(self, row: int, columns: range, levels: np.ndarray) -> None:
        """Makes pixels known: their levels from 0 to 255, int [columns, N, channels]."""


class FactorizedSteps:
    """The steps of a factorized head, whose outputs do not depend on other pixels.

    Args:
      features: of the decoder, shape [N, height, width, outputs].
    """

    def __init__(self, features: np.ndarray):
        self._features = features

    def outputs(self, row: int, columns: range) -> np.ndarray:
        """See `PixelSteps.outputs`."""
        outputs = self._features[:, row, columns.start : columns.stop]
        return outputs.astype(np.float64).transpose(1, 0, 2)

    def set(self, row: int, columns: range, levels: np.ndarray) -> None:
        """See `PixelSteps.set`."""


class CodedModel:
    """A VAE with a likelihood of 256 levels.

    Args:
      vae: the model, in float32, which `suitability.check` accepts.

    Attributes:
      image_shape: (height, width, channels) of the images.
      components: number of components of the likelihood's mixture.
      latents: the latents.
    """

    def __init__(self, vae: VAE):
        self.image_shape: Shape = vae.image_shape
        self.components: int = vae.family.components  # type: ignore[attr-defined]
        self.latents: LatentCoder = (
            HierarchyLatents(vae.latent_model)
            if isinstance(vae.latent_model, Ladder)
            else OneLevelLatents(vae)
        )
        # A factorized head has no weights: the decoder's features are its outputs.
        self._head = None
        if isinstance(vae.head, CausalHead):
            self._head = CausalWeights(vae.head, vae.architecture.activation)

    def steps(self, features: np.ndarray) -> PixelSteps:
        """The pixels in turn, given the decoder's features."""
        if self._head is None:
            return FactorizedSteps(features)
        return CausalSteps(self._head, features)

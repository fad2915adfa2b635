"""The variational autoencoder (Kingma and Welling, 2014)."""

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.base.shapes import Shape
from components.model.distributions import Bernoulli, Normal, standard_normal_like
from components.model.network_registry import NETWORKS
from components.model.restore import restore

# exp(±20) is finite in float32, and no useful posterior is that wide or that narrow.
_LOG_VARIANCE_BOUND = 20.0


@keras.saving.register_keras_serializable(package="vae_pipeline")
class VAE(keras.Model):
    """A VAE: encoder q(z|x), prior p(z) = N(0, I) and decoder p(x|z).

    Calling the model on images gives reconstructions: the likelihood's mean at the embedding.

    Args:
      image_shape: (height, width, channels).
      network: name of the architecture, a key of `NETWORKS`.
      latents: number of latent dimensions.
      widths: layer widths from the image inwards; the architecture defines their meaning.
      compute_dtype: Keras dtype policy of the inner layers, such as `mixed_bfloat16`. Weights and
        distributions stay in float32.
    """

    def __init__(
        self,
        *,
        image_shape: Shape,
        network: str,
        latents: int,
        widths: tuple[int, ...],
        compute_dtype: str = "float32",
        **kwargs,
    ):
        super().__init__(dtype="float32", **kwargs)
        self._config: dict[str, Any] = {
            "image_shape": tuple(image_shape),
            "network": network,
            "latents": latents,
            "widths": tuple(widths),
            "compute_dtype": compute_dtype,
        }
        self.image_shape: Shape = self._config["image_shape"]
        self.latents = latents
        architecture = NETWORKS[network]
        sizes = {"latents": latents, "widths": widths, "dtype": compute_dtype}
        self.encoder = architecture.encoder(self.image_shape, **sizes)
        self.decoder = architecture.decoder(self.image_shape, **sizes)
        # Encoder and decoder know their input shapes, so their weights exist already.
        self.built = True

    def posterior(self, images: tf.Tensor) -> Normal:
        """The posterior q(z|x) of images [batch, height, width, channels] in [0, 1]."""
        mean, log_variance = tf.split(self.encoder(images), 2, axis=-1)
        bounded = tf.clip_by_value(log_variance, -_LOG_VARIANCE_BOUND, _LOG_VARIANCE_BOUND)
        return Normal(mean, bounded)

    def likelihood(self, z: tf.Tensor) -> Bernoulli:
        """The likelihood p(x|z) given latents [batch, latents]."""
        return Bernoulli(self.decoder(z))

    def rates_and_distortion(
        self, images: tf.Tensor, noise: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The two terms of the ELBO for one draw of z per image, in nats.

        Args:
          images: shape [batch, height, width, channels], in [0, 1].
          noise: standard normal, shape [batch, latents].

        Returns:
          The rate of each latent dimension, shape [batch, latents], whose sum over the dimensions
          is KL(q(z|x) || p(z)); and the distortion -log p(x|z), shape [batch].
        """
        # ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z)) = -(distortion + rate)
        posterior = self.posterior(images)
        rates = posterior.kl_by_dimension(standard_normal_like(posterior.mean))
        distortion = -self.likelihood(posterior.sample(noise)).log_prob(images)
        return rates, distortion

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Reconstructions in [0, 1], of the shape of `images`."""
        return self.likelihood(self.posterior(images).mode()).mean()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, which Keras saves in the `.keras` file."""
        return {**super().get_config(), **self._config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "VAE":
        """The model of a saved config, with new weights."""
        # Keras adds its own dtype to the config; the constructor sets it.
        config = {key: value for key, value in config.items() if key != "dtype"}
        return cls(**config)

    def in_float32(self, weights: list[np.ndarray] | None = None) -> "VAE":
        """A copy that computes entirely in float32, as exported models do.

        Args:
          weights: weights of the copy, in the order of `get_weights`; None for this model's own.
        """
        copy = VAE(**{**self._config, "compute_dtype": "float32"})
        copy.set_weights(self.get_weights() if weights is None else weights)
        return copy


def load(path: str | os.PathLike[str]) -> VAE:
    """The VAE saved in a `.keras` file.

    Raises:
      WorkError: the file is damaged, or is not a VAE of this project.
    """
    return restore(path, VAE.from_config)

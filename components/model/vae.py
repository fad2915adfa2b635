"""The variational autoencoder (Kingma and Welling, 2014) and its objective."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.base.shapes import Shape
from components.model.distributions import Bernoulli, Normal, standard_normal_like
from components.model.networks import NETWORKS

# exp(±20) is finite in float32, and no useful posterior is that wide or that narrow.
_LOG_VARIANCE_BOUND = 20.0


@keras.saving.register_keras_serializable(package="vae_pipeline")
class VAE(keras.Model):
    """Encoder q(z|x), prior p(z) = N(0, I), decoder p(x|z).

    Args:
      image_shape: (height, width, channels).
      network: a key of `NETWORKS`.
      latents: number of latent dimensions.
      widths: layer widths from the image inwards; what they mean is the network's.
      compute_dtype: a Keras dtype policy for the inner layers, such as `mixed_bfloat16`; weights
        and everything probabilistic stay in float32.

    Called on images, it gives reconstructions: the likelihood's mean at the embedding.
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
        sizes = {"latents": latents, "widths": widths, "dtype": compute_dtype}
        encoder, decoder = NETWORKS[network]
        self.encoder = encoder(self.image_shape, **sizes)
        self.decoder = decoder(self.image_shape, **sizes)
        self.built = True  # The networks are, from their input shapes.

    def posterior(self, images: tf.Tensor) -> Normal:
        """q(z|x) for images [batch, height, width, channels] in [0, 1]."""
        mean, log_variance = tf.split(self.encoder(images), 2, axis=-1)
        bounded = tf.clip_by_value(log_variance, -_LOG_VARIANCE_BOUND, _LOG_VARIANCE_BOUND)
        return Normal(mean, bounded)

    def likelihood(self, z: tf.Tensor) -> Bernoulli:
        """p(x|z) for latents [batch, latents]."""
        return Bernoulli(self.decoder(z))

    def rates_and_distortion(
        self, images: tf.Tensor, noise: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The terms of the ELBO at one draw of z, in nats.

        Args:
          images: [batch, height, width, channels] in [0, 1].
          noise: standard normal, [batch, latents].

        Returns:
          The rate of each latent dimension, whose sum is KL(q(z|x) || p(z)), [batch, latents]; and
          the distortion -log p(x|z), [batch].
        """
        # ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z)) = -(distortion + rate)
        posterior = self.posterior(images)
        rates = posterior.kl_by_dimension(standard_normal_like(posterior.mean))
        distortion = -self.likelihood(posterior.sample(noise)).log_prob(images)
        return rates, distortion

    def rate_and_distortion(
        self, images: tf.Tensor, noise: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `rates_and_distortion`, with the rate KL(q(z|x) || p(z)) summed; both [batch]."""
        rates, distortion = self.rates_and_distortion(images, noise)
        return tf.reduce_sum(rates, axis=-1), distortion

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.likelihood(self.posterior(images).mode()).mean()

    def get_config(self) -> dict:
        return {**super().get_config(), **self._config}

    @classmethod
    def from_config(cls, config: dict) -> "VAE":
        config = {key: value for key, value in config.items() if key != "dtype"}
        return cls(**config)

    def in_float32(self, weights: list[np.ndarray] | None = None) -> "VAE":
        """The same model computing in float32 throughout, for export; with other weights, if any
        are given."""
        copy = VAE(**{**self._config, "compute_dtype": "float32"})
        copy.set_weights(self.get_weights() if weights is None else weights)
        return copy


def to_unit(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 pixels to intensities in [0, 1], float32."""
    return tf.cast(pixels, tf.float32) / 255.0


def load(path) -> VAE:
    """The VAE saved in a `.keras` file."""
    return keras.saving.load_model(path, compile=False, safe_mode=True)

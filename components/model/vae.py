"""The variational autoencoder (Kingma and Welling, 2014)."""

import dataclasses
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.model import linear_path
from components.model.activations import activation
from components.model.architecture import Architecture
from components.model.distributions import Normal
from components.model.heads.head import DecodedLikelihood, Head, HeadSettings
from components.model.inference import LatentModel, OneLevel, PosteriorDraws
from components.model.ladder import Ladder, LadderDecoder, ladder_encoder
from components.model.likelihoods.known_noise import KnownNoiseFamily
from components.model.likelihoods.likelihood import Family, Likelihood
from components.model.networks.network import NetworkSettings
from components.model.noise_model import parse_noise_model
from components.model.principal_components import PrincipalComponents
from components.model.registry import HEADS, LIKELIHOODS, NETWORKS, PRIORS
from components.model.restore import restore


@keras.saving.register_keras_serializable(package="vae_pipeline")
class VAE(keras.Model):
    """A VAE: posterior q(z|x), prior p(z) and likelihood p(x|z).

    Calling the model on images gives reconstructions: the likelihood's mean at the embedding.

    With classes, the model is conditional: the prior p(z|y) and the likelihood p(x|z, y) are given
    the label y, and the posterior is not (Kingma et al., 2014). It needs labels, integers of shape
    [batch], wherever it decodes or uses the prior; other models ignore them.

    Args:
      compute_dtype: Keras dtype policy of the inner layers, such as `mixed_bfloat16`. Weights and
        distributions stay in float32.
      **settings: the fields of `Architecture`, and Keras's own arguments, such as `name`.
    """

    def __init__(self, *, compute_dtype: str = "float32", **settings: Any):
        names = {field.name for field in dataclasses.fields(Architecture)}
        keras_arguments = {key: value for key, value in settings.items() if key not in names}
        super().__init__(dtype="float32", **keras_arguments)
        # Keras reads lists from a file where there were tuples.
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in settings.items()
            if key in names
        }
        self.architecture = Architecture(**fields)
        self._compute_dtype_policy = compute_dtype
        known_scale = parse_noise_model(self.architecture.noise_model)
        self.family: Family = (
            LIKELIHOODS[self.architecture.likelihood]
            if known_scale is None
            else KnownNoiseFamily(known_scale)
        )
        self._build_parts(compute_dtype)
        # The parts know their input shapes, so their weights exist already.
        self.built = True

    def _build_parts(self, dtype: str) -> None:
        architecture = self.architecture
        channels = architecture.image_shape[2]
        num_outputs = self.family.num_outputs(channels)
        head = HEADS[architecture.head]
        if head.is_sequential and not self.family.is_pixelwise:
            raise ValueError(
                f"likelihood {architecture.likelihood} needs head factorized. "
                f"Received: {architecture.head}"
            )
        settings = NetworkSettings(
            image_shape=architecture.image_shape,
            latents=architecture.latents,
            widths=architecture.widths,
            outputs=architecture.feature_channels if head.is_sequential else num_outputs,
            head_reads_features=head.is_sequential,
            activation=activation(architecture.activation),
            encoder_blocks=architecture.encoder_blocks,
            decoder_blocks=architecture.decoder_blocks,
            features=architecture.feature_channels,
            dtype=dtype,
        )
        self.latent_model = self._build_latent_model(settings)
        self.head: Head = head(
            HeadSettings(
                channels=channels,
                outputs=num_outputs,
                features=settings.outputs,
                layers=architecture.head_layers,
                activation=activation(architecture.activation),
                dtype=dtype,
            )
        )

    def _build_latent_model(self, settings: NetworkSettings) -> LatentModel:
        architecture = self.architecture
        if architecture.levels > 1:
            # The levels below the first would give the label to their priors and posteriors.
            if architecture.classes:
                raise ValueError("a hierarchy of latents is not conditioned on labels")
            self.encoder = ladder_encoder(settings)
            self.decoder = LadderDecoder(settings, levels=architecture.levels)
            return Ladder(self.encoder, self.decoder)
        network = NETWORKS[architecture.network]
        self.encoder = network.encoder(settings)
        # The decoder's inputs are the latents, followed by the one-hot label.
        inputs = architecture.latents + architecture.classes
        self.decoder = network.decoder(dataclasses.replace(settings, latents=inputs))
        if architecture.linear_path != "none":
            self.encoder = linear_path.beside_encoder(self.encoder, settings)
            self.decoder = linear_path.beside_decoder(self.decoder, settings)
        self.prior = PRIORS[architecture.prior](
            architecture.latents, conditions=architecture.classes, name="prior"
        )
        self.prior_means = None
        if architecture.classes:
            self.prior_means = keras.layers.Dense(
                architecture.latents,
                use_bias=False,
                kernel_initializer="zeros",
                dtype="float32",
                name="prior_means",
            )
            self.prior_means.build((None, architecture.classes))
        return OneLevel(self.encoder, self.prior, self.decoder, self.prior_means)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images."""
        return self.architecture.image_shape

    @property
    def is_convolutional(self) -> bool:
        """Whether most of the work is convolutions."""
        return is_convolutional(self.architecture)

    @property
    def latents(self) -> int:
        """Number of latent dimensions, over all levels."""
        return self.latent_model.latents

    def posterior(self, images: tf.Tensor) -> Normal:
        """The posterior q(z|x) of images [batch, height, width, channels] in [0, 1]."""
        return self.latent_model.posterior(images)

    def likelihood(self, z: tf.Tensor, labels: tf.Tensor | None = None) -> Likelihood:
        """The likelihood p(x|z) given latents [batch, latents], or p(x|z, y) given labels, too.

        Raises:
          ValueError: the model is conditional, and there are no labels.
        """
        return self.likelihood_of(self.latent_model.decode(z, self._condition(labels)))

    def likelihood_of(self, features: tf.Tensor) -> Likelihood:
        """The likelihood given the decoder's features [batch, height, width, features]."""
        if not self.head.is_sequential:
            return self.family.distribution(features)
        return DecodedLikelihood(self.head, features, self.family)

    def sample_prior(self, noise: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """Draws from p(z), or from p(z|y) given labels, shape [batch, latents].

        Args:
          noise: standard normal, shape [batch, latents].
          labels: one for each draw, for a conditional model.

        Raises:
          ValueError: the model is conditional, and there are no labels.
        """
        return self.latent_model.sample_prior(noise, self._condition(labels))

    def infer(
        self,
        images: tf.Tensor,
        noise: tf.Tensor,
        labels: tf.Tensor | None = None,
        **options: Any,
    ) -> PosteriorDraws:
        """Draws from q(z|x), with what the objectives need: see `LatentModel.infer`.

        Raises:
          ValueError: the model is conditional, and there are no labels.
        """
        condition = self._condition(labels)
        return self.latent_model.infer(images, noise, condition=condition, **options)

    def _condition(self, labels: tf.Tensor | None) -> tf.Tensor | None:
        """The one-hot labels, float32 [batch, classes]; None for a model without classes."""
        classes = self.architecture.classes
        if not classes:
            return None
        if labels is None:
            raise ValueError(
                f"a conditional model of {classes} classes needs the labels of the images. "
                "Received: labels=None"
            )
        return tf.one_hot(labels, classes)

    def distortion(self, images: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """-log p(x|z) in nats, shape [batch], given the decoder's features at z."""
        with tf.name_scope("head"):
            return -self.likelihood_of(features).log_prob(images)

    def rates_and_distortion(
        self,
        images: tf.Tensor,
        noise: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        seen: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The two terms of the ELBO for one draw of z per image, in nats.

        Args:
          images: shape [batch, height, width, channels], in [0, 1].
          noise: standard normal, shape [batch, latents].
          labels: of the images, for a conditional model.
          seen: what the encoder sees of the images, of their shape; None for the images.

        Returns:
          The rates, whose sum has the mean KL(q(z|x) || p(z)): of each latent dimension, in closed
          form, shape [batch, latents]; or, if there is none, of each level, at the drawn z, shape
          [batch, levels]. And the distortion -log p(x|z), shape [batch].
        """
        # ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z)) = -(distortion + rate)
        inference = self.infer(images if seen is None else seen, noise, labels)
        return inference.rates, self.distortion(images, inference.features)

    def call(self, images: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """Reconstructions in [0, 1], of the shape of `images`.

        Raises:
          ValueError: the model is conditional, and there are no labels.
        """
        return self.likelihood(self.posterior(images).mode(), labels).mean()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, which Keras saves in the `.keras` file."""
        return {
            **super().get_config(),
            **dataclasses.asdict(self.architecture),
            "compute_dtype": self._compute_dtype_policy,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "VAE":
        """The model of a saved config, with new weights."""
        # Keras adds its own dtype to the config; the constructor sets it.
        config = {key: value for key, value in config.items() if key != "dtype"}
        return cls(**config)

    def in_float32(self, weights: list[np.ndarray] | None = None) -> "VAE":
        """A copy that computes entirely in float32, as exported models do.

        Args:
          weights: see `assign`; None for this model's own.
        """
        copy = VAE(**dataclasses.asdict(self.architecture))
        copy.set_weights(self.get_weights())
        if weights is not None:
            copy.assign(weights)
        return copy

    def assign(self, weights: list[np.ndarray]) -> None:
        """Sets the weights that are trained, in the order of `trainable_variables`."""
        for variable, value in zip(self.trainable_variables, weights, strict=True):
            variable.assign(value)

    def set_principal_components(self, components: PrincipalComponents) -> None:
        """Makes the linear path of the model that of principal components of its images."""
        linear_path.set_principal_components(self.encoder, self.decoder, components)


def is_convolutional(architecture: Architecture) -> bool:
    """Whether most of the work of a model is convolutions."""
    network, head = NETWORKS[architecture.network], HEADS[architecture.head]
    return network.is_convolutional or head.is_sequential


def load(path: str | os.PathLike[str]) -> VAE:
    """The VAE saved in a `.keras` file.

    Raises:
      WorkError: the file is damaged, or is not a VAE of this project.
    """
    return restore(path, VAE.from_config)

"""The interface of decoder heads, and the likelihood that a head makes of features.

The latents fix a distribution over images. A factorized head makes the pixels independent given the
latents. Other heads let each pixel depend on pixels that are decoded before it, which they see in
training and draw one after the other in sampling.
"""

import abc
import dataclasses
from collections.abc import Iterator

import keras
import tensorflow as tf

from components.model.activations import Activation
from components.model.likelihoods.likelihood import Family, Likelihood

# Draws that are averaged for the mean of an image whose pixels depend on one another.
_MEAN_DRAWS = 4


@dataclasses.dataclass(frozen=True)
class HeadSettings:
    """The settings of a head.

    Attributes:
      channels: channels of the images.
      outputs: number of the likelihood's parameters at each pixel.
      features: channels of the decoder's features at each pixel.
      layers: number of layers over features and decoded pixels together.
      activation: activation function of the inner layers, or its name in Keras.
      dtype: Keras dtype policy of the inner layers.
    """

    channels: int
    outputs: int
    features: int
    layers: int
    activation: str | Activation
    dtype: str


class Head(keras.layers.Layer, abc.ABC):
    """Maps a decoder's features, and pixels decoded before, to the likelihood's parameters.

    Attributes:
      is_sequential: whether the head computes its outputs of the decoder's features and of pixels
        that are decoded before, turn by turn; otherwise the decoder computes them.
    """

    is_sequential = True

    def __init__(self, settings: HeadSettings):
        # The layers inside choose their number types themselves: the pixels stay in float32.
        super().__init__(dtype="float32", autocast=False, name="head")
        self.settings = settings

    @abc.abstractmethod
    def call(self, features: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """The likelihood's parameters at every pixel, given the pixels decoded before it.

        Args:
          features: of the decoder, shape [batch, height, width, features].
          x: images in [0, 1], float32, shape [batch, height, width, channels].

        Returns:
          float32, shape [batch, height, width, outputs].
        """

    @abc.abstractmethod
    def turns(self, height: int, width: int) -> int:
        """In how many turns an image is sampled.

        Args:
          height: of the image, in pixels.
          width: of the image, in pixels.
        """

    @abc.abstractmethod
    def sample(
        self, features: tf.Tensor, uniforms: tf.Tensor, family: Family
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws an image, turn by turn.

        Args:
          features: of the decoder, shape [batch, height, width, features].
          uniforms: in (0, 1), shape [batch, height, width, numbers].
          family: of the likelihood; makes a distribution of outputs.

        Returns:
          The image, in [0, 1], and the mean of each pixel given the pixels drawn before it; both
          float32, shape [batch, height, width, channels].
        """


@dataclasses.dataclass(frozen=True)
class DecodedLikelihood:
    """The likelihood p(x|z) of a head whose pixels depend on one another.

    Attributes:
      head: the head.
      features: of the decoder at z, shape [batch, height, width, features].
      family: makes a distribution of the head's outputs.
    """

    head: Head
    features: tf.Tensor
    family: Family

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """The log-likelihood of images in nats, shape [batch]: one pass, not one per pixel."""
        # log p(x|z) = Σ_i log p(x_i | x_<i, z)
        return self._distribution(x).log_prob(x)

    def log_prob_by_pixel(self, x: tf.Tensor) -> tf.Tensor:
        """The log-likelihood of each pixel given the pixels before it, in nats."""
        return self._distribution(x).log_prob_by_pixel(x)

    def sample(self, uniforms: tf.Tensor) -> tf.Tensor:
        """A draw, one turn after the other: slow for a head with many turns.

        Args:
          uniforms: in (0, 1), shape [batch, height, width, numbers].
        """
        return self.head.sample(self.features, uniforms, self.family)[0]

    def mean(self) -> tf.Tensor:
        """An estimate of the mean image, in [0, 1], shape [batch, height, width, channels].

        The mean over all images has no closed form. This is the average over a few draws of the
        mean of each pixel given the pixels drawn before it. The draws are always the same, for all
        images, so the mean of an image depends neither on its batch nor on its place there.
        """
        batch = tf.shape(self.features)[0]
        numbers = self.family.num_uniforms(self.head.settings.channels)
        shape = (1, *self.features.shape[1:3], numbers)
        means = [
            self.head.sample(self.features, tf.repeat(uniforms, batch, axis=0), self.family)[1]
            for uniforms in _fixed_uniforms(shape)
        ]
        return tf.add_n(means) / len(means)

    def _distribution(self, x: tf.Tensor) -> Likelihood:
        return self.family.distribution(self.head(self.features, x))


def _fixed_uniforms(shape: tuple[int, ...]) -> Iterator[tf.Tensor]:
    for draw in range(_MEAN_DRAWS):
        yield tf.random.stateless_uniform(shape, seed=(draw, 0), minval=1e-6, maxval=1.0 - 1e-6)

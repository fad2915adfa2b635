"""The interface of the likelihoods p(x|z) and of their families.

A family says what the outputs of a decoder mean: how many there are for each pixel, and which
distribution over images they are the parameters of. Given latents, the pixels are independent; the
channels of one pixel may depend on each other. Nothing depends on the height and the width. A head
that decodes pixels in turn needs the distribution of a single pixel: it uses the same class with a
height and a width of 1.

All values are float32, whatever precision the network computes in.
"""

from typing import Protocol

import tensorflow as tf


class Likelihood(Protocol):
    """A distribution over images, given the outputs of a decoder.

    Images have the shape [batch, height, width, channels]. Their values are what the family
    describes: intensities in [0, 1], or pixels that are 0 or 1.
    """

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """The log-likelihood of images in nats, shape [batch]."""

    def log_prob_by_pixel(self, x: tf.Tensor) -> tf.Tensor:
        """The log-likelihood of each pixel in nats, shape [batch, height, width].

        It is summed over the channels; its sum over height and width is `log_prob`.
        """

    def mean(self) -> tf.Tensor:
        """The mean as intensities in [0, 1], shape [batch, height, width, channels]."""

    def sample(self, uniforms: tf.Tensor) -> tf.Tensor:
        """A draw by inverse distribution functions, of the kind of images that `log_prob` takes.

        Args:
          uniforms: independent and uniform in (0, 1), shape [batch, height, width, uniforms] with
            as many uniforms as the family's `num_uniforms` says.

        Returns:
          Images, shape [batch, height, width, channels].
        """


class Family(Protocol):
    """The interpretation of a decoder's outputs. A family has no weights and is hashable."""

    @property
    def binarizes(self) -> bool:
        """Whether the data are pixels of 0 or 1, drawn with the intensities as probabilities."""

    @property
    def levels(self) -> int | None:
        """The number of values of a pixel in one channel, if `log_prob` is a probability.

        None if it is a density or a cross-entropy, for which bits per dimension are undefined.
        """

    @property
    def is_pixelwise(self) -> bool:
        """Whether the outputs of a pixel determine its distribution.

        Pixels can only then be decoded one after the other.
        """

    def num_outputs(self, channels: int) -> int:
        """The number of outputs for each pixel that `distribution` takes."""

    def num_uniforms(self, channels: int) -> int:
        """The number of uniform draws for each pixel that `Likelihood.sample` takes."""

    def distribution(self, outputs: tf.Tensor) -> Likelihood:
        """The likelihood with these parameters.

        Args:
          outputs: shape [batch, height, width, num_outputs(channels)], of any float type.
        """


def sum_over_event(values: tf.Tensor) -> tf.Tensor:
    """The sums over all axes but the first, shape [batch]."""
    return tf.reduce_sum(values, axis=list(range(1, len(values.shape))))

"""Images with Gaussian noise of a known scale, given the clean image (Prakash et al., 2021).

Image files clip noisy values to [0, 1]. So this is the likelihood of the clipped value: a normal
density between 0 and 1, and at each end the probability of everything beyond it. Without these two
masses, the decoded image would be too bright where the clean one is black.
"""

import dataclasses
import math

import tensorflow as tf

from components.model.distributions import normal_quantiles
from components.model.likelihoods.likelihood import sum_over_event

# An output of 0 is gray.
_MEAN_START = 0.5
# Below it, the normal distribution function underflows in float32, and its asymptote is used.
_FAR = -10.0


@dataclasses.dataclass(frozen=True)
class KnownNoise:
    """Independent Gaussian noise around a clean image, clipped to [0, 1].

    Attributes:
      clean: value of each clean pixel, shape [batch, height, width, channels].
      scale: standard deviation of the noise, in units of intensity.
    """

    clean: tf.Tensor
    scale: float

    def mean(self) -> tf.Tensor:
        """The clean image, clipped to [0, 1], shape [batch, height, width, channels]."""
        return tf.clip_by_value(self.clean, 0.0, 1.0)

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """The log-likelihood of noisy images [batch, height, width, channels], in nats, [batch]."""
        return sum_over_event(self._log_likelihood(x))

    def log_prob_by_pixel(self, x: tf.Tensor) -> tf.Tensor:
        """The log-likelihood of each noisy pixel in nats, shape [batch, height, width]."""
        return tf.reduce_sum(self._log_likelihood(x), axis=-1)

    def sample(self, uniforms: tf.Tensor) -> tf.Tensor:
        """Noisy images in [0, 1]; all shapes are those of `clean`."""
        return tf.clip_by_value(self.clean + self.scale * normal_quantiles(uniforms), 0.0, 1.0)

    def _log_likelihood(self, x: tf.Tensor) -> tf.Tensor:
        # t = (x - m) / s: the density N(t; 0, 1) / s inside; Φ(t) at x = 0, and Φ(-t) at x = 1.
        standard = (x - self.clean) / self.scale
        density = -0.5 * tf.square(standard) - math.log(self.scale * math.sqrt(2 * math.pi))
        beyond = _log_normal_cdf(tf.where(x <= 0, standard, -standard))
        return tf.where((x <= 0) | (x >= 1), beyond, density)


@dataclasses.dataclass(frozen=True)
class KnownNoiseFamily:
    """Outputs of a pixel: the clean value of each channel, where 0 is an intensity of 0.5.

    Attributes:
      scale: standard deviation of the noise, in units of intensity.
    """

    scale: float

    @property
    def binarizes(self) -> bool:
        """False: the data are intensities."""
        return False

    @property
    def levels(self) -> int | None:
        """None: `log_prob` is a density between 0 and 1."""
        return None

    @property
    def is_pixelwise(self) -> bool:
        """True: all pixels have the same known scale."""
        return True

    def num_outputs(self, channels: int) -> int:
        """One for each channel."""
        return channels

    def num_uniforms(self, channels: int) -> int:
        """One for each channel."""
        return channels

    def distribution(self, outputs: tf.Tensor) -> KnownNoise:
        """The noise around the clean images `outputs` + 0.5, [batch, height, width, channels]."""
        return KnownNoise(tf.cast(outputs, tf.float32) + _MEAN_START, self.scale)


def _log_normal_cdf(t: tf.Tensor) -> tf.Tensor:
    """log Φ(t), with a gradient that is finite for any t."""
    near = tf.math.log(0.5 * tf.math.erfc(-tf.maximum(t, _FAR) / math.sqrt(2)))
    # Φ(t) ≈ φ(t) / -t (1 - 1 / t² + 3 / t⁴)
    far = tf.minimum(t, _FAR)
    series = tf.math.log1p(-1 / tf.square(far) + 3 / far**4)
    asymptote = -0.5 * tf.square(far) - tf.math.log(-far) - 0.5 * math.log(2 * math.pi) + series
    return tf.where(t < _FAR, asymptote, near)

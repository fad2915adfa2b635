"""Gaussian intensities with a learned scale for each image."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from components.model.distributions import normal_quantiles
from components.model.likelihoods.likelihood import sum_over_event
from components.model.likelihoods.log_scales import bounded, output_of

# An output of 0 is gray with a standard deviation of e^-1, about that of the pixels of a data set.
_MEAN_START = 0.5
# e^-6 is two thirds of a step between two of 256 levels. At smaller scales, the density of rounded
# intensities is meaningless, and it would grow without bound where pixels are constant.
_LOG_SCALES = {"start": -1.0, "low": -6.0, "high": 1.0}


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Independent Gaussian intensities.

    Attributes:
      location: mean of each value, shape [batch, height, width, channels].
      log_scale: natural logarithm of the standard deviations, of the same shape.
    """

    location: tf.Tensor
    log_scale: tf.Tensor

    def mean(self) -> tf.Tensor:
        """The means, clipped to [0, 1], shape [batch, height, width, channels]."""
        return tf.clip_by_value(self.location, 0.0, 1.0)

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """The log-density of intensities [batch, height, width, channels], in nats, [batch]."""
        return sum_over_event(self._log_density(x))

    def log_prob_by_pixel(self, x: tf.Tensor) -> tf.Tensor:
        """The log-density of each pixel in nats, shape [batch, height, width]."""
        return tf.reduce_sum(self._log_density(x), axis=-1)

    def sample(self, uniforms: tf.Tensor) -> tf.Tensor:
        """Intensities, some of them outside [0, 1]; all shapes are those of `location`."""
        return self.location + tf.exp(self.log_scale) * normal_quantiles(uniforms)

    def _log_density(self, x: tf.Tensor) -> tf.Tensor:
        # log N(x; m, s²) = -½ ((x - m) / s)² - log s - ½ log 2π
        standard = (x - self.location) * tf.exp(-self.log_scale)
        return -0.5 * tf.square(standard) - self.log_scale - 0.5 * math.log(2 * math.pi)


@dataclasses.dataclass(frozen=True)
class GaussianFamily:
    """Outputs of a pixel: a mean for each channel, then its share of the image's log-scale.

    An output of 0 is a mean of 0.5; means are in units of intensity. The log-scale of an image is
    the average of the last output over its pixels, bounded. At the best scale, the log-density
    falls with the logarithm of the image's squared error (Rybkin et al., 2021), as its PSNR does: a
    model that maximizes one maximizes the other.
    """

    @property
    def binarizes(self) -> bool:
        """False: the data are intensities."""
        return False

    @property
    def levels(self) -> int | None:
        """None: `log_prob` is a density."""
        return None

    @property
    def is_pixelwise(self) -> bool:
        """False: the outputs of all pixels make the scale."""
        return False

    def num_outputs(self, channels: int) -> int:
        """A mean for each channel, and one for the log-scale."""
        return channels + 1

    def num_uniforms(self, channels: int) -> int:
        """One for each channel."""
        return channels

    def distribution(self, outputs: tf.Tensor) -> Gaussian:
        """Gaussians of the means and shares `outputs`, [batch, height, width, channels + 1]."""
        location, shares = tf.split(tf.cast(outputs, tf.float32), [-1, 1], axis=-1)
        log_scale = bounded(tf.reduce_mean(shares, axis=(1, 2), keepdims=True), **_LOG_SCALES)
        return Gaussian(location + _MEAN_START, tf.broadcast_to(log_scale, tf.shape(location)))

    @staticmethod
    def outputs_of(location: np.ndarray, scale: float) -> np.ndarray:
        """The outputs of one image's means [..., channels] and scale, [..., channels + 1]."""
        share = output_of(math.log(scale), **_LOG_SCALES)
        shares = np.full_like(location[..., :1], share)
        return np.concatenate([location - _MEAN_START, shares], axis=-1)


GAUSSIAN = GaussianFamily()

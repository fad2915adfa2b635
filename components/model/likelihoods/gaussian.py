"""Gaussian intensities with learned scales: one for each value, or one for all pixels."""

import dataclasses
import math
from typing import Any

import keras
import tensorflow as tf

from components.model.likelihoods.likelihood import sum_over_event
from components.model.likelihoods.log_scales import bounded

# An output of 0 is gray with a standard deviation of e^-1, about that of the pixels of a data set.
_MEAN_START, _LOG_SCALE_START = 0.5, -1.0

# e^-6 is two thirds of a step between two of 256 levels: a density of rounded intensities says
# nothing at smaller scales, and would grow without bound where pixels are constant.
_LOG_SCALE_LOW, _LOG_SCALE_HIGH = -6.0, 1.0


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
        # The normal quantile function: Φ⁻¹(u) = √2 erf⁻¹(2u - 1)
        standard = math.sqrt(2) * tf.math.erfinv(2 * uniforms - 1)
        return self.location + tf.exp(self.log_scale) * standard

    def _log_density(self, x: tf.Tensor) -> tf.Tensor:
        # log N(x; m, s²) = -½ ((x - m) / s)² - log s - ½ log 2π
        standard = (x - self.location) * tf.exp(-self.log_scale)
        return -0.5 * tf.square(standard) - self.log_scale - 0.5 * math.log(2 * math.pi)


@dataclasses.dataclass(frozen=True)
class GaussianFamily:
    """Two outputs for each channel of a pixel: first all means, then all log-scales.

    An output of 0 is a mean of 0.5; means are in units of intensity. The log-scales are bounded.

    Attributes:
      shares_scale: whether one learned log-scale serves all pixels and channels (Rybkin et al.,
        2021): a `SharedScale` appends it to the means that the decoder gives.
    """

    shares_scale: bool

    @property
    def binarizes(self) -> bool:
        """False: the data are intensities."""
        return False

    @property
    def levels(self) -> int | None:
        """None: `log_prob` is a density."""
        return None

    def num_outputs(self, channels: int) -> int:
        """A mean and a log-scale for each channel."""
        return 2 * channels

    def num_uniforms(self, channels: int) -> int:
        """One for each channel."""
        return channels

    def distribution(self, outputs: tf.Tensor) -> Gaussian:
        """Gaussians of the means and log-scales `outputs`, [batch, height, width, 2 channels]."""
        location, log_scale = tf.split(tf.cast(outputs, tf.float32), 2, axis=-1)
        return Gaussian(
            location + _MEAN_START,
            bounded(log_scale, start=_LOG_SCALE_START, low=_LOG_SCALE_LOW, high=_LOG_SCALE_HIGH),
        )


GAUSSIAN = GaussianFamily(shares_scale=True)
GAUSSIAN_PER_PIXEL = GaussianFamily(shares_scale=False)


@keras.saving.register_keras_serializable(package="vae_pipeline")
class SharedScale(keras.layers.Layer):
    """Appends one learned log-scale, starting at 0, to means: [..., C] becomes [..., 2 C].

    It computes in float32. The constructor creates the weight, so that a model that owns the layer
    has all its weights before its first call.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.log_scale = self.add_weight(shape=(1,), initializer="zeros", name="log_scale")
        self.built = True

    def call(self, means: tf.Tensor) -> tf.Tensor:
        """The means [..., C] and as many copies of the log-scale, [..., 2 C]."""
        return tf.concat([means, tf.ones_like(means) * self.log_scale], axis=-1)

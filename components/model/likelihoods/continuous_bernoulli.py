"""Continuous Bernoulli intensities (Loaiza-Ganem and Cunningham, 2019)."""

import dataclasses

import tensorflow as tf

from components.model.likelihoods.likelihood import sum_over_event

# Logits this close to 0 take the Taylor series of the mean, whose error is below 1e-8 here; the
# closed form is a difference of two numbers near 1 / |logit|.
_TAYLOR_BOUND = 0.5

# |logit| is at least this where it divides. The distribution is uniform to float32's precision.
_SMALLEST_LOGIT = 1e-10


@dataclasses.dataclass(frozen=True)
class ContinuousBernoulli:
    """Independent continuous Bernoulli intensities in [0, 1], with density proportional to e^(l x).

    It is the Bernoulli's cross-entropy with the normalizer that makes it a density of x.

    Attributes:
      logits: the l of each value, shape [batch, height, width, channels].
    """

    logits: tf.Tensor

    def mean(self) -> tf.Tensor:
        """The means, shape [batch, height, width, channels]; other than the Bernoulli's."""
        return _mean(self.logits)

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """The log-density of intensities [batch, height, width, channels], in nats, [batch]."""
        return sum_over_event(self._log_density(x))

    def log_prob_by_pixel(self, x: tf.Tensor) -> tf.Tensor:
        """The log-density of each pixel in nats, shape [batch, height, width]."""
        return tf.reduce_sum(self._log_density(x), axis=-1)

    def sample(self, uniforms: tf.Tensor) -> tf.Tensor:
        """Intensities; `uniforms` and intensities have the shape of `logits`."""
        # For l < 0 and a = -l, the distribution function is F(x) = (1 - e^-ax) / (1 - e^-a), hence
        # x = -log(1 - u (1 - e^-a)) / a. For l > 0, 1 - x has the distribution for -l.
        magnitude = tf.maximum(tf.abs(self.logits), _SMALLEST_LOGIT)
        rises = self.logits > 0
        u = tf.where(rises, 1 - uniforms, uniforms)
        x = -tf.math.log1p(u * tf.math.expm1(-magnitude)) / magnitude
        return tf.where(rises, 1 - x, x)

    def _log_density(self, x: tf.Tensor) -> tf.Tensor:
        # log p(x) = l x - log ∫ e^(l t) dt
        return self.logits * x - _log_normalizer(self.logits)


@dataclasses.dataclass(frozen=True)
class ContinuousBernoulliFamily:
    """One output for each channel of a pixel: the logit of its continuous Bernoulli."""

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
        """True: the outputs of a pixel are its parameters."""
        return True

    def num_outputs(self, channels: int) -> int:
        """One logit for each channel."""
        return channels

    def num_uniforms(self, channels: int) -> int:
        """One for each channel."""
        return channels

    def distribution(self, outputs: tf.Tensor) -> ContinuousBernoulli:
        """Continuous Bernoullis with the logits `outputs`, [batch, height, width, channels]."""
        return ContinuousBernoulli(tf.cast(outputs, tf.float32))


CONTINUOUS_BERNOULLI = ContinuousBernoulliFamily()


@tf.custom_gradient
def _log_normalizer(logits: tf.Tensor):
    """log ∫ e^(l t) dt over t in [0, 1] for each logit l, and its derivative, which is the mean.

    Automatic differentiation would lose the derivative's digits near 0.
    """
    # log((e^l - 1) / l) = max(l, 0) + log((1 - e^-|l|) / |l|)
    magnitude = tf.maximum(tf.abs(logits), _SMALLEST_LOGIT)
    value = tf.nn.relu(logits) + tf.math.log(-tf.math.expm1(-magnitude) / magnitude)
    return value, lambda upstream: upstream * _mean(logits)


def _mean(logits: tf.Tensor) -> tf.Tensor:
    """The mean of a continuous Bernoulli: 1 / (1 - e^-l) - 1/l."""
    is_small = tf.abs(logits) < _TAYLOR_BOUND
    square = tf.square(logits)
    series = 0.5 + logits * (1 / 12 - square * (1 / 720 - square / 30240))
    # A value of 1 in place of small logits, which the series covers, avoids 0 / 0.
    large = tf.where(is_small, 1.0, logits)
    # 1 / (1 - e^-l) for l > 0, and -e^l / (1 - e^l) for l < 0.
    falling = -1 / tf.math.expm1(-tf.abs(large))
    closed = tf.where(large > 0, falling, 1 - falling) - 1 / large
    return tf.where(is_small, series, closed)

"""Bernoulli pixels: on intensities, or on pixels that are binarized anew at every step."""

import dataclasses

import tensorflow as tf

from components.model.likelihoods.likelihood import sum_over_event


@dataclasses.dataclass(frozen=True)
class Bernoulli:
    """Independent Bernoulli pixels.

    Attributes:
      logits: log-odds of a 1, shape [batch, height, width, channels].
    """

    logits: tf.Tensor

    def mean(self) -> tf.Tensor:
        """The probabilities of a 1, shape [batch, height, width, channels]."""
        return tf.sigmoid(self.logits)

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """The log-likelihood of pixels [batch, height, width, channels], in nats, shape [batch].

        An intensity between 0 and 1 is taken as the probability that the pixel is 1: the result is
        then the expected log-likelihood, which is the negative binary cross-entropy.
        """
        # log p(x) = Σ x log p + (1 - x) log(1 - p)
        return -sum_over_event(_cross_entropy(self.logits, x))

    def log_prob_by_pixel(self, x: tf.Tensor) -> tf.Tensor:
        """The log-likelihood of each pixel, as in `log_prob`, shape [batch, height, width]."""
        return -tf.reduce_sum(_cross_entropy(self.logits, x), axis=-1)

    def sample(self, uniforms: tf.Tensor) -> tf.Tensor:
        """Pixels of 0 or 1; `uniforms` and pixels have the shape of `logits`."""
        return tf.cast(uniforms < self.mean(), tf.float32)


@dataclasses.dataclass(frozen=True)
class BernoulliFamily:
    """One output for each channel of a pixel: the logit of its Bernoulli distribution.

    Attributes:
      binarizes: whether the data are pixels of 0 or 1, drawn with the intensities as probabilities.
        Otherwise they are intensities, each taken as the probability that the pixel is 1.
    """

    binarizes: bool

    @property
    def levels(self) -> int | None:
        """2 if the data are binarized; a cross-entropy of intensities is not a log-probability."""
        return 2 if self.binarizes else None

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

    def distribution(self, outputs: tf.Tensor) -> Bernoulli:
        """Bernoulli pixels with the logits `outputs`, [batch, height, width, channels]."""
        return Bernoulli(tf.cast(outputs, tf.float32))


BERNOULLI = BernoulliFamily(binarizes=False)
BINARIZED = BernoulliFamily(binarizes=True)


@tf.custom_gradient
def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor):
    """The binary cross-entropy of each pixel in nats, and its gradients.

    `tf.nn.sigmoid_cross_entropy_with_logits` takes a third longer: it computes one exponential for
    the value and another for the gradient.
    """
    # With l = logits and x = labels:
    # log(1 + e^l) - x l = max(l, 0) - x l + log(1 + e^-|l|)
    # The last term is in (0, log 2], so a plain logarithm errs by at most 6e-8; log1p is slower.
    exponential = tf.exp(-tf.abs(logits))
    value = tf.nn.relu(logits) - labels * logits + tf.math.log(1.0 + exponential)

    def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # d/dl = sigmoid(l) - x, d/dx = -l
        probabilities = tf.where(logits >= 0, 1.0, exponential) / (1.0 + exponential)
        return upstream * (probabilities - labels), -upstream * logits

    return value, gradients

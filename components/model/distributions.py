"""The distributions of a VAE: the posterior and prior (Normal), the likelihood (Bernoulli).

Shape law: parameters have shape `batch_shape + event_shape`; `sample` keeps it, and `log_prob` and
`kl_divergence` sum over the event, so they have shape `batch_shape`. All values are in nats and in
float32, whatever the precision of the network: exp(log-variance) overflows float16, and a small KL
vanishes in bfloat16.
"""

import dataclasses
import math

import tensorflow as tf

_LOG_2PI = math.log(2 * math.pi)


@dataclasses.dataclass(frozen=True)
class Normal:
    """A normal distribution with a diagonal covariance.

    Attributes:
      mean: shape [batch, latents].
      log_variance: shape [batch, latents].
    """

    mean: tf.Tensor
    log_variance: tf.Tensor

    def mode(self) -> tf.Tensor:
        """Shape [batch, latents]."""
        return self.mean

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """A draw, given standard normal `noise`; both [batch, latents]."""
        return self.mean + tf.exp(0.5 * self.log_variance) * noise

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log N(z; mean, variance) in nats, shape [batch]."""
        squares = tf.square(z - self.mean) * tf.exp(-self.log_variance)
        return -0.5 * tf.reduce_sum(squares + self.log_variance + _LOG_2PI, axis=-1)

    def kl_divergence(self, other: "Normal") -> tf.Tensor:
        """KL(self || other) in nats, shape [batch]."""
        return tf.reduce_sum(self.kl_by_dimension(other), axis=-1)

    def kl_by_dimension(self, other: "Normal") -> tf.Tensor:
        """The terms of KL(self || other), one a latent dimension, in nats; [batch, latents]."""
        # KL(N(m,s²)||N(n,t²)) = ½ [ s²/t² + (m-n)²/t² - 1 - log s² + log t² ]
        difference = self.log_variance - other.log_variance
        squares = tf.square(self.mean - other.mean) * tf.exp(-other.log_variance)
        return 0.5 * (tf.exp(difference) + squares - 1.0 - difference)


def standard_normal_like(z: tf.Tensor) -> Normal:
    """The prior N(0, I) over values shaped as `z`."""
    return Normal(tf.zeros_like(z), tf.zeros_like(z))


@dataclasses.dataclass(frozen=True)
class Bernoulli:
    """Independent Bernoulli pixels; intensities in [0, 1] are taken as probabilities of a 1.

    Attributes:
      logits: shape [batch, height, width, channels].
    """

    logits: tf.Tensor

    def mean(self) -> tf.Tensor:
        """Probabilities, shape [batch, height, width, channels]."""
        return tf.sigmoid(self.logits)

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """Σ x log p + (1-x) log(1-p) in nats, shape [batch]; for x in (0, 1), the expected
        log-likelihood of pixels drawn with probability x (binary cross-entropy)."""
        entropies = _cross_entropy(self.logits, x)
        return -tf.reduce_sum(entropies, axis=list(range(1, len(x.shape))))


@tf.custom_gradient
def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor):
    """Binary cross-entropy in nats; TensorFlow's own takes a third longer, since its gradient and
    its value have an exponential each."""
    # log(1 + e^l) - x l = max(l, 0) - x l + log(1 + e^-|l|). The last term lies in (0, log 2], so
    # that a plain logarithm errs by 6e-8 at most, where log1p would be slower.
    power = tf.exp(-tf.abs(logits))
    value = tf.nn.relu(logits) - labels * logits + tf.math.log(1.0 + power)

    def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        probabilities = tf.where(logits >= 0, 1.0, power) / (1.0 + power)
        return upstream * (probabilities - labels), -upstream * logits

    return value, gradients

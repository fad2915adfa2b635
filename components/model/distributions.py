"""The distributions of a VAE: Normal for the posterior and the prior, Bernoulli for the likelihood.

Shapes: parameters have shape `batch_shape + event_shape`. `sample`, `mode`, `mean` and
`kl_by_dimension` have the same shape; `log_prob` sums over the event and has shape `batch_shape`.

All values are float32, whatever precision the network computes in: exp(log-variance) overflows
float16, and bfloat16 rounds a small KL divergence to zero.
"""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Normal:
    """A normal distribution with a diagonal covariance matrix.

    Attributes:
      mean: shape [batch, latents].
      log_variance: natural logarithm of the variance, shape [batch, latents].
    """

    mean: tf.Tensor
    log_variance: tf.Tensor

    def mode(self) -> tf.Tensor:
        """The point of highest density, shape [batch, latents]."""
        return self.mean

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """A reparameterized draw from standard normal `noise`; both of shape [batch, latents]."""
        # z = mean + standard deviation * noise
        return self.mean + tf.exp(0.5 * self.log_variance) * noise

    def kl_by_dimension(self, other: "Normal") -> tf.Tensor:
        """The term of each latent dimension in KL(self || other), in nats, [batch, latents].

        The covariances are diagonal, so the divergence is the sum of these terms.
        """
        # KL(N(m,s²)||N(n,t²)) = ½ [ s²/t² + (m-n)²/t² - 1 - log s² + log t² ]
        difference = self.log_variance - other.log_variance
        squares = tf.square(self.mean - other.mean) * tf.exp(-other.log_variance)
        return 0.5 * (tf.exp(difference) + squares - 1.0 - difference)


def standard_normal_like(z: tf.Tensor) -> Normal:
    """The prior N(0, I) over latents of the shape of `z`, [batch, latents]."""
    return Normal(tf.zeros_like(z), tf.zeros_like(z))


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
        entropies = _cross_entropy(self.logits, x)
        return -tf.reduce_sum(entropies, axis=list(range(1, len(x.shape))))


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

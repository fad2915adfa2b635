"""The normal distribution, which posteriors and priors are made of.

Shapes: parameters have shape `batch_shape + event_shape`. `sample`, `mode`, `mean` and
`kl_by_dimension` have the same shape; `log_prob` sums over the event and has shape `batch_shape`.

All values are float32, whatever precision the network computes in: exp(log-variance) overflows
float16, and bfloat16 rounds a small KL divergence to zero.
"""

import dataclasses
import math

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

    def without_gradient(self) -> "Normal":
        """The same distribution with constant parameters: no gradient passes to them."""
        return Normal(tf.stop_gradient(self.mean), tf.stop_gradient(self.log_variance))

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """A reparameterized draw from standard normal `noise`; both of shape [batch, latents]."""
        # z = mean + standard deviation * noise
        return self.mean + tf.exp(0.5 * self.log_variance) * noise

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """The log-density of latents [batch, latents], in nats, shape [batch]."""
        # log N(z; m, s²) = -½ [ (z-m)²/s² + log s² + log 2π ]
        squares = tf.square(z - self.mean) * tf.exp(-self.log_variance)
        terms = squares + self.log_variance + math.log(2 * math.pi)
        return -0.5 * tf.reduce_sum(terms, axis=-1)

    def kl_by_dimension(self, other: "Normal") -> tf.Tensor:
        """The term of each latent dimension in KL(self || other), in nats, [batch, latents].

        The covariances are diagonal, so the divergence is the sum of these terms.
        """
        # KL(N(m,s²)||N(n,t²)) = ½ [ s²/t² + (m-n)²/t² - 1 - log s² + log t² ]
        difference = self.log_variance - other.log_variance
        squares = tf.square(self.mean - other.mean) * tf.exp(-other.log_variance)
        return 0.5 * (tf.exp(difference) + squares - 1.0 - difference)


def normal_quantiles(uniforms: tf.Tensor) -> tf.Tensor:
    """Φ⁻¹(u) = √2 erf⁻¹(2u - 1): standard normal draws of uniform ones in (0, 1), of any shape."""
    return math.sqrt(2) * tf.math.erfinv(2 * uniforms - 1)


def standard_normal_like(z: tf.Tensor) -> Normal:
    """The prior N(0, I) over latents of the shape of `z`, [batch, latents]."""
    return Normal(tf.zeros_like(z), tf.zeros_like(z))

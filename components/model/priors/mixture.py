"""Mixtures of diagonal normal distributions as priors."""

import abc
import math

import keras
import tensorflow as tf

from components.model.distributions import Normal
from components.model.priors.prior import Prior

# Components whose densities are computed at once, which bounds the memory: the differences between
# latents and means have shape [batch, components, latents].
_BLOCK_COMPONENTS = 32


class MixturePrior(Prior):
    """A weighted sum of diagonal normal distributions, the components."""

    @abc.abstractmethod
    def mixture(self) -> tuple[tf.Tensor, Normal]:
        """The parts of the mixture.

        Returns:
          The logarithms of the components' weights, shape [components]; and the components, whose
          parameters have shape [components, latents].
        """

    @property
    def noise_size(self) -> int:
        """How many standard normal numbers `sample` needs: the first one picks the component."""
        return self.latents + 1

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """The log-density of latents [batch, latents], in nats, shape [batch]."""
        # p(z) = Σ_k w_k N(z; m_k, s_k²)
        log_weights, components = self.mixture()
        log_probs = _component_log_probs(z, components.mean, components.log_variance)
        return tf.reduce_logsumexp(log_weights + log_probs, axis=-1)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Draws from the prior, shape [batch, latents], given noise [batch, latents + 1]."""
        log_weights, components = self.mixture()
        # Φ(noise) is uniform in (0, 1). The component is the one whose part of that interval, of
        # the length of its weight, contains it. The last cumulated weight is left out, because
        # rounding can take it below 1.
        uniform = 0.5 * tf.math.erfc(-noise[:, :1] / math.sqrt(2))
        inner_edges = tf.cumsum(tf.exp(log_weights))[:-1]
        picked = tf.reduce_sum(tf.cast(uniform > inner_edges, tf.int32), axis=-1)
        mean, log_variance = (
            tf.gather(parameter, picked) for parameter in (components.mean, components.log_variance)
        )
        return Normal(mean, log_variance).sample(noise[:, 1:])


@tf.custom_gradient
def _component_log_probs(z: tf.Tensor, means: tf.Tensor, log_variances: tf.Tensor):
    """log N(z; m_k, s_k²) of each component k in nats, [batch, components], and its gradients.

    Written with matrix products, z² - 2 z m + m², it would need no blocks, but float32 cancels the
    digits of narrow components. The gradients compute the blocks again, instead of all of them
    being kept in memory until then.
    """
    blocks = [
        (means[first : first + _BLOCK_COMPONENTS], log_variances[first : first + _BLOCK_COMPONENTS])
        for first in range(0, means.shape[0], _BLOCK_COMPONENTS)
    ]
    value = tf.concat([Normal(*block).log_prob(z[:, tf.newaxis]) for block in blocks], axis=-1)

    def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # d/dz = (m-z)/s², d/dm = (z-m)/s², d/d(log s²) = ½ [ (z-m)²/s² - 1 ]
        by_z, by_mean, by_log_variance = tf.zeros_like(z), [], []
        splits = tf.split(upstream, [block[0].shape[0] for block in blocks], axis=-1)
        for (mean, log_variance), weights in zip(blocks, splits, strict=True):
            difference = z[:, tf.newaxis] - mean
            weighted = weights[:, :, tf.newaxis] * difference * tf.exp(-log_variance)
            by_z -= tf.reduce_sum(weighted, axis=1)
            by_mean.append(tf.reduce_sum(weighted, axis=0))
            squares = tf.reduce_sum(weighted * difference, axis=0)
            by_log_variance.append(0.5 * (squares - tf.reduce_sum(weights, axis=0)[:, tf.newaxis]))
        return by_z, tf.concat(by_mean, axis=0), tf.concat(by_log_variance, axis=0)

    return value, gradients


class MixtureOfGaussians(MixturePrior):
    """A mixture whose weights, means and log-variances are trained.

    It begins with equal weights and random means, such that the mixture as a whole has mean 0 and
    variance 1 on average.

    Args:
      latents: number of latent dimensions.
      components: number of components.
      **kwargs: Keras's own arguments, such as `name`.
    """

    def __init__(self, latents: int, *, components: int, **kwargs):
        super().__init__(latents, **kwargs)
        # The parameters are vectors, and get their shape where they are used: an optimizer takes a
        # weight of rank 2 for a kernel.
        self._shape = (components, latents)
        size = (components * latents,)
        self.logits = self.add_weight(shape=(components,), initializer="zeros", name="logits")
        # Variance 1 = variance between the means 1/4 + variance within a component 3/4
        self.means = self.add_weight(
            shape=size, initializer=keras.initializers.RandomNormal(stddev=0.5), name="means"
        )
        self.log_variances = self.add_weight(
            shape=size,
            initializer=keras.initializers.Constant(math.log(0.75)),
            name="log_variances",
        )

    def mixture(self) -> tuple[tf.Tensor, Normal]:
        """The logarithms of the weights, shape [components], and the components."""
        components = Normal(
            tf.reshape(self.means, self._shape), tf.reshape(self.log_variances, self._shape)
        )
        return tf.nn.log_softmax(self.logits), components

"""The prior N(0, I)."""

import tensorflow as tf

from components.model.distributions import Normal, standard_normal_like
from components.model.priors.prior import Prior


class StandardNormal(Prior):
    """The standard normal distribution, which has no weights.

    It is the only prior for which the rate has a closed form. It ignores a condition: the VAE
    shifts it by the mean of the label.
    """

    has_closed_form = True

    def log_prob(self, z: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        del condition
        return standard_normal_like(z).log_prob(z)

    def sample(self, noise: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        """The noise itself, shape [batch, latents]."""
        del condition
        return noise

    def kl_by_dimension(self, posterior: Normal) -> tf.Tensor:
        """The term of each latent in KL(posterior || prior), in nats, shape [batch, latents]."""
        return posterior.kl_by_dimension(standard_normal_like(posterior.mean))

"""The interface of all priors p(z)."""

import abc

import keras
import tensorflow as tf

from components.model.distributions import Normal


class Prior(keras.layers.Layer, abc.ABC):
    """A distribution p(z) over vectors of latents, possibly with trained weights.

    Weights and computations are float32, whatever precision the network computes in. The
    constructor creates all weights. A saved model has no config of its prior: the VAE makes it from
    its own.

    Args:
      latents: number of latent dimensions.
      conditions: width of the condition y that p(z|y) is given; 0 for none.
      **kwargs: Keras's own arguments, such as `name`.
    """

    # Whether the divergence of a normal distribution from the prior has a closed form.
    has_closed_form = False

    def __init__(self, latents: int, *, conditions: int = 0, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.latents = latents
        self.conditions = conditions
        self.built = True

    @abc.abstractmethod
    def log_prob(self, z: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        """The log-density of latents [batch, latents], in nats, shape [batch].

        Args:
          z: the latents.
          condition: shape [batch, conditions]; None without one.
        """

    def kl_by_dimension(self, posterior: Normal) -> tf.Tensor | None:
        """The term of each latent dimension in KL(posterior || prior), in nats, [batch, latents].

        None without a closed form.
        """
        del posterior
        return None

    @abc.abstractmethod
    def sample(self, noise: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        """Draws from the prior.

        Args:
          noise: standard normal, shape [batch, latents].
          condition: as for `log_prob`.

        Returns:
          One draw for each row of the noise, of the same shape.
        """

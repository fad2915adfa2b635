"""The variational mixture of posteriors as a prior (Tomczak and Welling, 2018)."""

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from components.base.shapes import Shape
from components.model.distributions import Normal
from components.model.priors.mixture import MixturePrior


class VampPrior(MixturePrior):
    """The mean of the posteriors of K trained images, the pseudo-inputs.

    They begin as random intensities around 0.5. Each call encodes them, which costs as much as
    encoding a batch of K images.

    Args:
      latents: number of latent dimensions.
      image_shape: (height, width, channels).
      components: number K of pseudo-inputs.
      posterior: the posterior q(z|x) of the model that owns this prior: images
        [K, height, width, channels] in [0, 1] -> parameters of shape [K, latents]. Its weights
        belong to the model alone.
      **kwargs: Keras's own arguments, such as `name`.
    """

    def __init__(
        self,
        latents: int,
        *,
        image_shape: Shape,
        components: int,
        posterior: Callable[[tf.Tensor], Normal],
        **kwargs,
    ):
        super().__init__(latents, **kwargs)
        shape = (components, *image_shape)
        # Inside a function, since Keras would track and save a layer that is an attribute.
        self._posterior = lambda images: posterior(images)
        # A vector, which gets its shape where it is used: an optimizer takes a weight of rank 2 or
        # more for a kernel.
        self._shape = shape
        self.logits = self.add_weight(
            shape=(math.prod(shape),),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="pseudo_input_logits",
        )

    def pseudo_inputs(self) -> tf.Tensor:
        """The pseudo-inputs in [0, 1], shape [K, height, width, channels]."""
        return tf.reshape(tf.sigmoid(self.logits), self._shape)

    def mixture(self) -> tuple[tf.Tensor, Normal]:
        """The logarithms of the weights, which are equal, shape [K], and the posteriors."""
        components = self._shape[0]
        log_weights = tf.fill((components,), -math.log(components))
        return log_weights, self._posterior(self.pseudo_inputs())

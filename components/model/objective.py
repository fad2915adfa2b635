"""What training minimizes: the negative ELBO, with the two usual changes to its rate."""

import tensorflow as tf


def loss(
    rates: tf.Tensor, distortion: tf.Tensor, *, beta: tf.Tensor | float, free_bits: float
) -> tf.Tensor:
    """distortion + beta * rate, in nats, shape [batch].

    Args:
      rates: of each latent dimension, in nats, [batch, latents].
      distortion: in nats, [batch].
      beta: weight of the rate (Higgins et al., 2017); 1 gives the negative ELBO.
      free_bits: nats of each dimension's rate that cost nothing (Kingma et al., 2016); here of each
        example, where they bound the mean of a minibatch, so that an example's loss depends on no
        other and the number of replicas changes nothing.
    """
    if free_bits:
        rates = tf.maximum(rates, free_bits)
    return distortion + beta * tf.reduce_sum(rates, axis=-1)

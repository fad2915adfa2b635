"""The training objective: the negative ELBO, with an optional weight and floor on the rate."""

import tensorflow as tf


def loss(
    rates: tf.Tensor, distortion: tf.Tensor, *, beta: tf.Tensor | float, free_bits: float
) -> tf.Tensor:
    """The loss of each example in nats, shape [batch].

    Args:
      rates: rate of each latent dimension in nats, shape [batch, latents].
      distortion: in nats, shape [batch].
      beta: weight of the rate (beta-VAE; Higgins et al., 2017). 1 gives the negative ELBO.
      free_bits: floor of each dimension's rate in the loss, in nats, so that the dimension has no
        incentive to collapse (Kingma et al., 2016); 0 for none. The paper
        applies the floor to the mean rate over a minibatch. Here it applies to each example, so
        that an example's loss depends on no other example and not on the number of replicas.
    """
    # loss = distortion + beta * Σ_d max(rate_d, free_bits)
    if free_bits:
        rates = tf.maximum(rates, free_bits)
    return distortion + beta * tf.reduce_sum(rates, axis=-1)

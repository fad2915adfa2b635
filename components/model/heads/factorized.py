"""The factorized head: given the latents, pixels are independent."""

import tensorflow as tf

from components.model.heads.head import Head
from components.model.likelihoods.likelihood import Family


class FactorizedHead(Head):
    """A head whose outputs are the decoder's."""

    is_sequential = False

    def call(self, features: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        del x
        return features

    def turns(self, height: int, width: int) -> int:
        del height, width
        return 1

    def sample(
        self, features: tf.Tensor, uniforms: tf.Tensor, family: Family
    ) -> tuple[tf.Tensor, tf.Tensor]:
        distribution = family.distribution(features)
        return distribution.sample(uniforms), distribution.mean()

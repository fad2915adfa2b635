"""The factorized head: given the latents, pixels are independent."""

import tensorflow as tf

from components.model.heads.head import Head, Parameters, draw_pixels


class FactorizedHead(Head):
    """A head whose outputs are the decoder's."""

    is_sequential = False
    reads_features = False

    def call(self, features: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        del x
        return features

    def turns(self, height: int, width: int) -> int:
        del height, width
        return 1

    def sample(
        self, features: tf.Tensor, uniforms: tf.Tensor, parameters: Parameters
    ) -> tuple[tf.Tensor, tf.Tensor]:
        distribution = parameters(features)
        return draw_pixels(distribution, uniforms), distribution.mean()

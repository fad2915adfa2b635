"""The activation functions of the inner layers, by name."""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

Activation = Callable[[tf.Tensor], tf.Tensor]


def activation(name: str) -> Activation:
    """The activation function with a name in `ACTIVATIONS`: our SiLU, or a function of Keras."""
    return silu if name == "silu" else keras.activations.get(name)


@tf.custom_gradient
def silu(x: tf.Tensor):
    """x σ(x), the sigmoid linear unit (Elfwing et al., 2018), with a gradient in a single pass.

    Outside XLA, TensorFlow computes the gradient operation by operation, and its sigmoid of
    bfloat16 numbers is slow on a CPU. That took 30 % of the time of a training step of `quick`.
    """
    return x * tf.sigmoid(x), functools.partial(_silu_gradient, x)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _silu_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """The gradient by x, in the number type of x and computed in float32."""
    number_type, x = x.dtype, tf.cast(x, tf.float32)
    sigmoid = tf.sigmoid(x)
    # d/dx x σ(x) = σ(x) (1 + x (1 - σ(x)))
    slope = sigmoid * (1.0 + x * (1.0 - sigmoid))
    return tf.cast(tf.cast(upstream, tf.float32) * slope, number_type)

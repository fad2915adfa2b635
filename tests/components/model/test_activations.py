import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.activations import activation, silu
from components.model.registry import ACTIVATIONS


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_name_has_the_function_of_keras(name):
    x = np.linspace(-30, 30, 301, dtype=np.float32)
    expected = keras.ops.convert_to_numpy(keras.activations.get(name)(x))
    np.testing.assert_allclose(activation(name)(tf.constant(x)), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_the_gradient_of_silu_is_its_slope(dtype, tolerance, in_graph):
    """By central differences in float64, in every number type, within a graph and outside."""
    x = np.linspace(-12, 12, 97)
    x = np.asarray(tf.cast(tf.cast(x, dtype), tf.float64))
    step = 1e-6
    slope = (_silu(x + step) - _silu(x - step)) / (2 * step)

    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = silu(x)
        return tape.gradient(y, x, 3.0 * tf.ones_like(y))

    function = tf.function(gradient) if in_graph else gradient
    result = function(tf.constant(x, dtype))
    assert result.dtype == dtype
    np.testing.assert_allclose(tf.cast(result, tf.float64), 3 * slope, rtol=tolerance, atol=1e-4)


def test_silu_has_the_same_gradient_within_a_compiled_step():
    x = tf.random.stateless_normal([1000], seed=[1, 2])

    def gradient(x: tf.Tensor) -> tf.Tensor:
        return tf.gradients(tf.reduce_sum(tf.square(silu(x))), x)[0]

    compiled = tf.function(gradient, jit_compile=True)(x)
    np.testing.assert_allclose(tf.function(gradient)(x), compiled, rtol=1e-5, atol=1e-6)


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))

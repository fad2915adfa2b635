import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.networks.transposed import transposed_convolution

SIZES = [(3, 1), (4, 2), (3, 2), (2, 2), (1, 1), (5, 3)]


def pair(kernel: int, strides: int, **options) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    """Keras's layer and ours, with the same weights, for 5 input channels."""
    layers = (
        keras.layers.Conv2DTranspose(1, kernel, strides, "same", **options),
        transposed_convolution(1, kernel, strides, **options),
    )
    for layer in layers:
        layer.build((None, 6, 7, 5))
        rng = np.random.default_rng(0)
        layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    return layers


def outputs_and_gradients(layer: keras.layers.Layer, images: tf.Tensor) -> list[tf.Tensor]:
    """The outputs, and the gradients of a sum over them with unequal weights."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images)
        loss = tf.reduce_sum(tf.sin(outputs))
    return [outputs, *tape.gradient(loss, [images, *layer.trainable_variables])]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("kernel", "strides"), SIZES)
def test_one_channel_is_what_kerass_layer_computes(kernel, strides, compiled):
    images = tf.random.stateless_normal((3, 6, 7, 5), seed=(1, 2))
    keras_layer, ours = pair(kernel, strides)
    assert type(ours) is not keras.layers.Conv2DTranspose
    expected = outputs_and_gradients(keras_layer, images)
    compute = (
        tf.function(outputs_and_gradients, jit_compile=True)
        if compiled
        else (outputs_and_gradients)
    )
    actual = compute(ours, images)
    assert expected[0].shape == (3, 6 * strides, 7 * strides, 1)
    for value, known in zip(actual, expected, strict=True):
        np.testing.assert_allclose(value, known, rtol=1e-5, atol=1e-5)


def test_the_batch_may_have_any_size():
    _, layer = pair(3, 2)
    model = keras.Sequential([keras.Input((6, 7, 5)), layer])
    images = tf.random.stateless_normal((4, 6, 7, 5), seed=(1, 2))
    signature = [tf.TensorSpec([None, 6, 7, 5])]
    function = tf.function(lambda x: outputs_and_gradients(model, x), input_signature=signature)
    for count in (1, 4):
        whole, part = outputs_and_gradients(model, images[:count]), function(images[:count])
        for value, known in zip(part, whole, strict=True):
            np.testing.assert_allclose(value, known, rtol=1e-5, atol=1e-5)


def test_it_computes_in_the_precision_of_its_policy():
    images = tf.random.stateless_normal((3, 6, 7, 5), seed=(1, 2))
    _, single = pair(4, 2)
    _, half = pair(4, 2, dtype="mixed_bfloat16")
    assert half(images).dtype == tf.bfloat16
    assert all(weight.dtype == "float32" for weight in half.weights)
    np.testing.assert_allclose(
        tf.cast(half(images), tf.float32), single(images), rtol=0.1, atol=0.2
    )


def test_an_activation_function_is_applied():
    images = tf.random.stateless_normal((3, 6, 7, 5), seed=(1, 2))
    for value, known in zip(
        *(outputs_and_gradients(layer, images) for layer in pair(3, 1, activation="relu")),
        strict=True,
    ):
        np.testing.assert_allclose(value, known, rtol=1e-5, atol=1e-5)


def test_more_channels_are_left_to_keras():
    assert type(transposed_convolution(2, 3, 1)) is keras.layers.Conv2DTranspose


def test_weights_are_saved_and_restored_as_those_of_kerass_layer(tmp_path):
    """Models of versions that had Keras's layer load, and the other way round."""
    images = tf.random.stateless_normal((3, 6, 7, 5), seed=(1, 2))
    layers = pair(3, 1)
    models = [keras.Sequential([keras.Input((6, 7, 5)), layer]) for layer in layers]
    for source, target in (models, models[::-1]):
        source.save_weights(tmp_path / "some.weights.h5")
        expected = source(images)
        target.set_weights([tf.zeros_like(weight) for weight in target.weights])
        target.load_weights(tmp_path / "some.weights.h5")
        np.testing.assert_allclose(target(images), expected, rtol=1e-5, atol=1e-5)


def test_a_saved_model_loads_as_kerass_own_layer(tmp_path):
    images = tf.random.stateless_normal((3, 6, 7, 5), seed=(1, 2))
    _, layer = pair(3, 1)
    model = keras.Sequential([keras.Input((6, 7, 5)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded.layers[0]) is keras.layers.Conv2DTranspose
    np.testing.assert_allclose(loaded(images), model(images), rtol=1e-5, atol=1e-5)

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model import costs
from components.model.costs import Costs
from components.model.vae import VAE


def keras_example() -> tuple[keras.Sequential, keras.Sequential]:
    """The convolutional VAE of the Keras documentation; its two heads as one layer."""
    layers = keras.layers
    encoder = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, 2, "same", activation="relu"),
            layers.Conv2D(64, 3, 2, "same", activation="relu"),
            layers.Flatten(),
            layers.Dense(16, "relu"),
            layers.Dense(4),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(7 * 7 * 64, "relu"),
            layers.Reshape((7, 7, 64)),
            layers.Conv2DTranspose(64, 3, 2, "same", activation="relu"),
            layers.Conv2DTranspose(32, 3, 2, "same", activation="relu"),
            layers.Conv2DTranspose(1, 3, padding="same"),
        ]
    )
    return encoder, decoder


def vae(**settings) -> VAE:
    return VAE(**({"image_shape": (28, 28, 1), "network": "mlp", "latents": 2} | settings))


def counted_by_tensorflow(network: keras.Model) -> int:
    """The operations of products and convolutions, as TensorFlow's profiler counts them."""
    spec = tf.TensorSpec((1, *network.input_shape[1:]))
    graph = tf.function(network).get_concrete_function(spec).graph
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    profile = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    kinds = {"MatMul", "Conv2D", "Conv2DBackpropInput"}
    nodes = list(profile.children)
    total = 0
    while nodes:
        node = nodes.pop()
        nodes += node.children
        total += node.float_ops if node.name in kinds else 0
    return total


def test_the_mlp_by_hand():
    model = vae(widths=(256,))
    found = costs.count(model.encoder, model.decoder)
    kernels = 784 * 256 + 256 * 4 + 2 * 256 + 256 * 784
    assert found.forward_flops == 2 * kernels
    assert found.training_flops == 2_417_664
    assert found.parameters == kernels + 256 + 4 + 256 + 784 == model.count_params()
    # Flattened, hidden, mean and log-variance; hidden, logits, reshaped.
    assert found.activations == 784 + 256 + 4 + 256 + 784 + 784


def test_the_keras_example_by_hand():
    found = costs.count(*keras_example())
    products = (
        14 * 14 * 9 * 32 + 7 * 7 * 9 * 32 * 64 + 3136 * 16 + 16 * 4
        + 2 * 3136 + 7 * 7 * 9 * 64 * 64 + 14 * 14 * 9 * 64 * 32 + 28 * 28 * 9 * 32
    )  # fmt: skip
    assert found.forward_flops == 2 * products
    assert found.training_flops == 39_965_568
    encoded = 14 * 14 * 32 + 7 * 7 * 64 + 3136 + 16 + 4
    assert found.activations == encoded + 2 * 3136 + 14 * 14 * 64 + 28 * 28 * 32 + 28 * 28


@pytest.mark.parametrize(
    "settings",
    [
        {"widths": (256,)},
        {"widths": (31, 17), "latents": 5, "image_shape": (9, 7, 3)},
        {"network": "conv", "widths": (8, 16, 32)},
        # A grid of whole strides is larger than these images.
        {"network": "conv", "widths": (4, 6, 10), "image_shape": (9, 7, 3)},
    ],
)
def test_the_same_as_tensorflow_counts(settings):
    model = vae(**settings)
    for network in (model.encoder, model.decoder):
        assert costs.count(network).forward_flops == counted_by_tensorflow(network)


def test_the_keras_example_as_tensorflow_counts():
    for network in keras_example():
        assert costs.count(network).forward_flops == counted_by_tensorflow(network)


def test_networks_within_networks_are_counted_once():
    encoder, decoder = keras_example()
    whole = keras.Sequential([encoder, keras.layers.Lambda(lambda x: x[:, :2]), decoder])
    apart = costs.count(encoder, decoder)
    found = costs.count(whole)
    assert (found.parameters, found.forward_flops) == (apart.parameters, apart.forward_flops)
    assert found.activations == apart.activations + 2


def test_a_layer_that_cannot_be_counted_is_named():
    network = keras.Sequential([keras.Input((8, 3)), keras.layers.Conv1D(4, 2)])
    with pytest.raises(ValueError, match="Conv1D"):
        costs.count(network)


def test_memory_by_hand():
    found = costs.memory(
        Costs(parameters=10, forward_flops=1, activations=7),
        micro_batch=3,
        num_slots=2,
        averages=True,
        data_bytes=1000,
        activation_bytes=2,
    )
    assert (found.parameters, found.gradients, found.slots, found.average) == (40, 40, 80, 40)
    assert found.activations == 3 * 7 * 2
    assert found.total == 200 + 42 + 1000


def test_memory_of_what_adam_holds():
    encoder, _ = keras_example()
    optimizer = keras.optimizers.Adam()
    optimizer.build(encoder.trainable_variables)
    held = sum(
        np.asarray(v).nbytes
        for v in optimizer.variables
        if v.name not in ("iteration", "learning_rate")
    )
    found = costs.memory(costs.count(encoder), micro_batch=1, num_slots=2)
    assert found.slots == held
    assert found.average == 0

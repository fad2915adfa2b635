import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model import costs
from components.model.costs import Costs
from components.model.vae import VAE


def keras_example() -> tuple[keras.Sequential, keras.Sequential]:
    """The convolutional VAE of the Keras documentation, with its two heads as one layer."""
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


def tensorflow_flops(network: keras.Model) -> int:
    """The operations of matrix products and convolutions, by TensorFlow's profiler."""
    spec = tf.TensorSpec((1, *network.input_shape[1:]))
    graph = tf.function(network).get_concrete_function(spec).graph
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    profile = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    counted_ops = {"MatMul", "Conv2D", "Conv2DBackpropInput"}
    nodes = list(profile.children)
    total = 0
    while nodes:
        node = nodes.pop()
        nodes += node.children
        total += node.float_ops if node.name in counted_ops else 0
    return total


def test_the_mlp_agrees_with_a_count_by_hand():
    model = vae(widths=(256,))
    counted = costs.count(model.encoder, model.decoder)
    kernels = 784 * 256 + 256 * 4 + 2 * 256 + 256 * 784
    assert counted.forward_flops == 2 * kernels
    assert counted.training_flops == 2_417_664
    assert counted.parameters == kernels + 256 + 4 + 256 + 784 == model.count_params()
    # Encoder: flatten, hidden, mean and log-variance. Decoder: hidden, logits, reshape.
    assert counted.activations == 784 + 256 + 4 + 256 + 784 + 784


def test_the_keras_example_agrees_with_a_count_by_hand():
    counted = costs.count(*keras_example())
    products = (
        14 * 14 * 9 * 32 + 7 * 7 * 9 * 32 * 64 + 3136 * 16 + 16 * 4
        + 2 * 3136 + 7 * 7 * 9 * 64 * 64 + 14 * 14 * 9 * 64 * 32 + 28 * 28 * 9 * 32
    )  # fmt: skip
    assert counted.forward_flops == 2 * products
    assert counted.training_flops == 39_965_568
    encoded = 14 * 14 * 32 + 7 * 7 * 64 + 3136 + 16 + 4
    assert counted.activations == encoded + 2 * 3136 + 14 * 14 * 64 + 28 * 28 * 32 + 28 * 28


@pytest.mark.parametrize(
    "settings",
    [
        {"widths": (256,)},
        {"widths": (31, 17), "latents": 5, "image_shape": (9, 7, 3)},
        {"network": "conv", "widths": (8, 16, 32)},
        # The decoder crops its output, because the strides do not divide the image size.
        {"network": "conv", "widths": (4, 6, 10), "image_shape": (9, 7, 3)},
    ],
)
def test_flops_agree_with_tensorflows_profiler(settings):
    model = vae(**settings)
    for network in (model.encoder, model.decoder):
        assert costs.count(network).forward_flops == tensorflow_flops(network)


def test_flops_of_the_keras_example_agree_with_tensorflows_profiler():
    for network in keras_example():
        assert costs.count(network).forward_flops == tensorflow_flops(network)


def test_nested_networks_are_counted_once():
    encoder, decoder = keras_example()
    nested = keras.Sequential([encoder, keras.layers.Lambda(lambda x: x[:, :2]), decoder])
    separate, together = costs.count(encoder, decoder), costs.count(nested)
    assert together.parameters == separate.parameters
    assert together.forward_flops == separate.forward_flops
    # The Lambda layer gives two numbers.
    assert together.activations == separate.activations + 2


def test_an_unknown_layer_with_a_kernel_is_named_in_the_error():
    network = keras.Sequential([keras.Input((8, 3)), keras.layers.Conv1D(4, 2)])
    with pytest.raises(ValueError, match="Conv1D"):
        costs.count(network)


def test_memory_agrees_with_a_count_by_hand():
    memory = costs.memory(
        Costs(parameters=10, forward_flops=1, activations=7),
        micro_batch=3,
        num_slots=2,
        averages=True,
        data_bytes=1000,
        activation_bytes=2,
    )
    assert (memory.parameters, memory.gradients, memory.slots, memory.average) == (40, 40, 80, 40)
    assert memory.activations == 3 * 7 * 2
    assert memory.total == 200 + 42 + 1000


def test_the_memory_of_slots_is_that_of_adam():
    encoder, _ = keras_example()
    optimizer = keras.optimizers.Adam()
    optimizer.build(encoder.trainable_variables)
    slot_bytes = sum(
        np.asarray(v).nbytes
        for v in optimizer.variables
        if v.name not in ("iteration", "learning_rate")
    )
    memory = costs.memory(costs.count(encoder), micro_batch=1, num_slots=2)
    assert memory.slots == slot_bytes
    assert memory.average == 0

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model import costs
from components.model.architecture import Architecture
from components.model.costs import Costs
from components.model.objective import Elbo, ImportanceWeighted, Objective
from components.model.vae import VAE

ELBO = Elbo()


def counted(network: str = "mlp", *, objective: Objective = ELBO, **settings) -> Costs:
    settings = {"image_shape": (28, 28, 1), "latents": 2, "widths": (256,)} | settings
    architecture = Architecture(network=network, **settings)
    return costs.count(architecture, objective)


def tensorflow_flops(network: keras.Model) -> int:
    """The operations of matrix products and convolutions, by TensorFlow's profiler."""
    graph = traced(network)
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


def traced(network: keras.Model) -> tf.Graph:
    """The graph of a call on one example."""
    spec = tf.TensorSpec((1, *network.input_shape[1:]))
    return tf.function(network).get_concrete_function(spec).graph


def test_the_mlp_agrees_with_a_count_by_hand():
    mlp = counted()
    encoder, decoder = 784 * 256 + 256 * 4, 2 * 256 + 256 * 784
    assert mlp.flops_by_part == {"encoder": 2 * encoder, "decoder": 2 * decoder}
    assert mlp.training_flops == 6 * (encoder + decoder) == 2_417_664
    assert mlp.parameters == encoder + decoder + 256 + 4 + 256 + 784
    # Each hidden layer before and after its activation function; the outputs; the exponentials of a
    # draw, of log q(z|x), and of three terms of a closed-form rate; and two terms of each pixel.
    assert mlp.activations == 2 * 256 + 4 + 2 * 256 + 784 + 5 * 2 + 2 * 784


def test_the_model_of_the_keras_example_agrees_with_a_count_by_hand():
    example = counted("keras_conv", widths=(32, 64, 16))
    encoder = 14 * 14 * 9 * 32 + 7 * 7 * 9 * 32 * 64 + 3136 * 16 + 16 * 4
    decoder = (
        2 * 3136 + 7 * 7 * 9 * 64 * 64 + 14 * 14 * 9 * 64 * 32 + 28 * 28 * 9 * 32
    )  # fmt: skip
    assert example.flops_by_part == {"encoder": 2 * encoder, "decoder": 2 * decoder}
    assert example.training_flops == 39_965_568


def test_a_causal_head_agrees_with_a_count_by_hand():
    model = counted(head="causal", head_layers=2, feature_channels=7, image_shape=(6, 5, 3))
    neighbors, outputs, features = 40, 3, 7
    by_pixel = neighbors * 3 * (outputs + features)
    by_pixel += 2 * (2 * 3) * features * features + features * features + features * outputs
    assert model.flops_by_part["head"] == 2 * (6 * 5) * by_pixel
    # The decoder gives features in place of outputs.
    assert model.flops_by_part["decoder"] == 2 * (2 * 256 + 256 * 6 * 5 * features)


@pytest.mark.parametrize("latents", [4, 5])
def test_a_flow_agrees_with_a_count_by_hand(latents):
    model = counted(prior="real_nvp", latents=latents)
    halves = latents // 2, latents - latents // 2
    products = sum(2 * (kept * 128 + 128 * 128 + 128 * 2 * (latents - kept)) for kept in halves)
    assert model.flops_by_part["prior"] == 2 * products


def test_more_draws_multiply_all_that_comes_after_a_draw():
    settings = {"prior": "real_nvp", "head": "causal", "image_shape": (6, 5, 1)}
    one = counted(**settings).flops_by_part
    five = counted(objective=ImportanceWeighted(5), **settings).flops_by_part
    assert five.pop("encoder") == one.pop("encoder")
    assert five == {part: 5 * flops for part, flops in one.items()}


@pytest.mark.parametrize(
    "settings",
    [
        {"widths": (31, 17), "latents": 5, "image_shape": (9, 7, 3)},
        {"network": "conv", "widths": (8, 16, 32)},
        # The decoder crops its output, because the strides do not divide the image size.
        {"network": "keras_conv", "widths": (4, 6, 10), "image_shape": (9, 7, 3)},
        {"network": "residual", "widths": (4, 6, 10), "image_shape": (9, 7, 3)},
    ],
)
def test_flops_agree_with_tensorflows_profiler(settings):
    settings = {"image_shape": (28, 28, 1), "network": "mlp", "latents": 2} | settings
    model = VAE(**settings)
    parts = counted(**settings).flops_by_part
    for name, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        assert parts[name] == tensorflow_flops(network)
        assert costs.count_operations(traced(network)) == {"other": parts[name]}


def test_the_weights_are_those_of_the_model():
    settings = {"head": "causal", "prior": "real_nvp", "likelihood": "logistic_mixture"}
    settings |= {"image_shape": (8, 8, 1), "network": "residual", "latents": 2, "widths": (4, 8)}
    model = VAE(**settings)
    shapes = tuple(tuple(weight.shape) for weight in model.trainable_weights)
    assert counted(**settings).weight_shapes == shapes
    assert counted(**settings).parameters == counted(**settings).trainable == model.count_params()


def test_a_linear_path_has_weights_and_work_but_nothing_to_train():
    settings = {"image_shape": (5, 4, 3), "likelihood": "gaussian", "latents": 7}
    linear, plain = counted(**settings, linear_path="principal_components"), counted(**settings)
    encoder, decoder = 60 * 14, 7 * 20 * 4
    assert linear.weight_shapes == plain.weight_shapes
    assert linear.frozen == encoder + 14 + decoder + 20 * 4
    assert linear.parameters == plain.parameters + linear.frozen
    more = {part: flops - plain.flops_by_part[part] for part, flops in linear.flops_by_part.items()}
    assert more == {"encoder": 2 * encoder, "decoder": 2 * decoder}


def test_memory_agrees_with_a_count_by_hand():
    memory = costs.memory(
        Costs(weight_shapes=((2, 4), (2,)), flops_by_part={"encoder": 1}, activations=7, frozen=3),
        micro_batch=3,
        num_slots=len,
        averages=True,
        data_bytes=1000,
        activation_bytes=2,
    )
    assert (memory.parameters, memory.gradients, memory.slots, memory.average) == (52, 40, 72, 40)
    assert memory.activations == 3 * 7 * 2
    assert memory.total == 204 + 42 + 1000


def test_the_memory_of_slots_is_that_of_adam():
    model = VAE(image_shape=(28, 28, 1), network="conv", latents=2, widths=(4, 8))
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    slot_bytes = sum(
        np.asarray(v).nbytes
        for v in optimizer.variables
        if v.name not in ("iteration", "learning_rate")
    )
    planned = counted("conv", widths=(4, 8))
    memory = costs.memory(planned, micro_batch=1, num_slots=lambda shape: 2)
    assert memory.slots == slot_bytes
    assert memory.average == 0


def test_labels_are_inputs_of_the_prior_and_the_decoder():
    without, with_labels = counted().flops_by_part, counted(classes=10).flops_by_part
    assert with_labels.pop("decoder") == without.pop("decoder") + 2 * 10 * 256
    assert with_labels.pop("prior") == 2 * 10 * 2
    assert with_labels == without

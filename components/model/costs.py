"""The costs of training a model: floating-point operations, parameters and memory.

Only matrix products and convolutions count, which do nearly all of the work. They take two
operations, a multiplication and an addition, for each weight of a kernel and each position the
kernel is applied at, padding included. Activation functions, sampling, the likelihood and the
weight update are not counted.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from components.model.architecture import Architecture
from components.model.objective import Objective
from components.model.vae import VAE

# A training step has three times the operations of a forward pass: the backward pass has one
# product for the gradient of each kernel and one for the gradient of each input. The first layer
# needs no gradient of its input, but it is conventionally counted.
TRAINING_FACTOR = 3

_FLOAT32_BYTES = 4
# The parts of a model, which are also scopes of the names of its operations.
PARTS = ("encoder", "decoder", "head", "prior")
# The operations whose outputs are kept for the backward pass.
_KEPT = (
    "MatMul", "BatchMatMulV2", "Conv2D", "Conv2DBackpropInput", "Relu", "Sigmoid", "Tanh", "Exp",
    "Softplus",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Costs:
    """The costs of a model.

    Attributes:
      weight_shapes: the shape of each trainable weight.
      flops_by_part: floating-point operations of a forward pass, per example, by part of the model.
      activations: number of values that a forward pass keeps for the backward pass, per example.
      frozen: number of parameters that are not trained.
    """

    weight_shapes: tuple[tuple[int, ...], ...]
    flops_by_part: dict[str, int]
    activations: int
    frozen: int = 0

    @property
    def trainable(self) -> int:
        """Number of parameters that are trained."""
        return sum(map(math.prod, self.weight_shapes))

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        return self.trainable + self.frozen

    @property
    def forward_flops(self) -> int:
        """Floating-point operations of a forward pass, per example."""
        return sum(self.flops_by_part.values())

    @property
    def training_flops(self) -> int:
        """Floating-point operations of a training step, per example."""
        return TRAINING_FACTOR * self.forward_flops


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """An estimate of the memory of one replica during training, in bytes.

    Attributes:
      parameters: the weights, in float32.
      gradients: a float32 number per trained parameter.
      slots: the optimizer's state per trained parameter, in float32.
      average: the moving average of the trained weights, in float32.
      activations: layer outputs of one micro-batch, kept for the backward pass.
      data: training examples in memory.
    """

    parameters: int
    gradients: int
    slots: int
    average: int
    activations: int
    data: int

    @property
    def total(self) -> int:
        """The sum of all parts, in bytes."""
        return sum(dataclasses.astuple(self))


def count(architecture: Architecture, objective: Objective) -> Costs:
    """Counts the costs of training a model, without building it: a graph has shapes but no values.

    Args:
      architecture: the model.
      objective: what is computed for each example.
    """
    with tf.Graph().as_default():
        model = VAE(**dataclasses.asdict(architecture))
        images = tf.TensorSpec([1, *architecture.image_shape])
        noise = tf.TensorSpec([1, objective.samples * model.latents])

        @tf.function(autograph=False)
        def losses(images: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
            labels = tf.zeros([1], tf.int32)
            return objective(model, images, noise, labels, beta=tf.ones([]), free_bits=0.0).loss

        graph = losses.get_concrete_function(images, noise).graph
        shapes = tuple(tuple(weight.shape) for weight in model.trainable_weights)
        frozen = sum(math.prod(weight.shape) for weight in model.non_trainable_weights)
    kept = [each.outputs[0].shape for each in graph.get_operations() if each.type in _KEPT]
    activations = sum(shape.num_elements() for shape in kept)
    return Costs(shapes, count_operations(graph), activations, frozen)


def count_operations(graph: tf.Graph) -> dict[str, int]:
    """The floating-point operations of a graph, by part of a model; `other` is outside all parts.

    The shapes of all operations must be known.
    """
    flops: collections.Counter[str] = collections.Counter()
    for operation in graph.get_operations():
        count_of = _FLOPS.get(operation.type)
        if count_of is not None:
            scopes = operation.name.split("/")
            part = next((scope for scope in scopes if scope in PARTS), "other")
            flops[part] += count_of(operation)
    return dict(flops)


def memory(
    costs: Costs,
    *,
    micro_batch: int,
    num_slots: Callable[[Sequence[int]], int],
    averages: bool = False,
    data_bytes: int = 0,
    activation_bytes: int = _FLOAT32_BYTES,
) -> MemoryEstimate:
    """Estimates the memory of one replica.

    Args:
      costs: costs of the model.
      micro_batch: number of examples in a backward pass of the replica.
      num_slots: number of values that the optimizer keeps per element of a weight, by its shape.
      averages: whether a moving average of the weights is kept.
      data_bytes: size of the training examples held in memory, in bytes.
      activation_bytes: size of an element of a layer's output, in bytes: 4, or 2 in half precision.
    """
    trained = _FLOAT32_BYTES * costs.trainable
    slots = sum(num_slots(shape) * math.prod(shape) for shape in costs.weight_shapes)
    return MemoryEstimate(
        parameters=_FLOAT32_BYTES * costs.parameters,
        gradients=trained,
        slots=_FLOAT32_BYTES * slots,
        average=trained if averages else 0,
        activations=micro_batch * costs.activations * activation_bytes,
        data=data_bytes,
    )


def _matmul_flops(operation: tf.Operation) -> int:
    left = operation.inputs[0].shape.as_list()
    inner = left[-2] if operation.get_attr("transpose_a") else left[-1]
    return 2 * inner * operation.outputs[0].shape.num_elements()


def _conv_flops(operation: tf.Operation) -> int:
    # It applies its kernel at each position of the output.
    positions = math.prod(operation.outputs[0].shape[:-1])
    return 2 * positions * operation.inputs[1].shape.num_elements()


def _transposed_conv_flops(operation: tf.Operation) -> int:
    # It applies its kernel at each position of the input.
    positions = math.prod(operation.inputs[2].shape[:-1])
    return 2 * positions * operation.inputs[1].shape.num_elements()


_FLOPS = {
    "MatMul": _matmul_flops,
    "Conv2D": _conv_flops,
    "Conv2DBackpropInput": _transposed_conv_flops,
}

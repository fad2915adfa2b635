"""The costs of training a model: floating-point operations, parameters and memory.

Only dense and (transposed) convolution layers count, which do nearly all of the work. They take two
operations, a multiplication and an addition, for each weight of a kernel and each position the
kernel is applied at, padding included. Activation functions, sampling, the likelihood and the
weight update are not counted.
"""

import dataclasses
import math
from collections.abc import Iterator

import keras

_FLOAT32_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Costs:
    """The costs of networks.

    Attributes:
      parameters: number of trainable parameters.
      forward_flops: floating-point operations of a forward pass, per example.
      activations: number of elements in the outputs of all layers, per example.
    """

    parameters: int
    forward_flops: int
    activations: int

    @property
    def training_flops(self) -> int:
        """Floating-point operations of a training step, per example.

        The backward pass costs twice the forward pass: one product for the gradient of each kernel
        and one for the gradient of each input. The first layer needs no gradient of its input, but
        it is conventionally counted.
        """
        return 3 * self.forward_flops


@dataclasses.dataclass(frozen=True)
class Memory:
    """An estimate of the memory of one replica during training, in bytes.

    Attributes:
      parameters: the weights, in float32.
      gradients: a float32 number per parameter.
      slots: the optimizer's state per parameter, in float32.
      average: the moving average of the weights, in float32.
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


def count(*networks: keras.Model) -> Costs:
    """Counts the costs of built networks, such as a VAE's encoder and decoder.

    Raises:
      ValueError: a layer has a kernel but is of an unknown type.
    """
    layers = [layer for network in networks for layer in _leaf_layers(network)]
    return Costs(
        parameters=sum(math.prod(w.shape) for n in networks for w in n.trainable_weights),
        forward_flops=sum(map(_flops, layers)),
        activations=sum(math.prod(layer.output.shape[1:]) for layer in layers),
    )


def memory(
    costs: Costs,
    *,
    micro_batch: int,
    num_slots: int,
    averages: bool = False,
    data_bytes: int = 0,
    activation_bytes: int = _FLOAT32_BYTES,
) -> Memory:
    """Estimates the memory of one replica.

    Args:
      costs: costs of the model.
      micro_batch: number of examples in a backward pass of the replica.
      num_slots: numbers that the optimizer keeps per parameter.
      averages: whether a moving average of the weights is kept.
      data_bytes: size of the training examples held in memory, in bytes.
      activation_bytes: size of an element of a layer's output, in bytes: 4, or 2 in half precision.
    """
    weights = _FLOAT32_BYTES * costs.parameters
    return Memory(
        parameters=weights,
        gradients=weights,
        slots=num_slots * weights,
        average=weights if averages else 0,
        activations=micro_batch * costs.activations * activation_bytes,
        data=data_bytes,
    )


def _leaf_layers(layer: keras.Layer) -> Iterator[keras.Layer]:
    """Iterates over the layers inside nested models, except input layers."""
    if isinstance(layer, keras.Model):
        for inner in layer.layers:
            yield from _leaf_layers(inner)
    elif not isinstance(layer, keras.layers.InputLayer):
        yield layer


def _flops(layer: keras.Layer) -> int:
    """Counts the floating-point operations of a layer's forward pass, per example."""
    if not hasattr(layer, "kernel"):
        return 0
    if isinstance(layer, keras.layers.Conv2DTranspose):
        # It applies its kernel at each position of the input; a convolution, of the output.
        positions = math.prod(layer.input.shape[1:-1])
    elif isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
        positions = math.prod(layer.output.shape[1:-1])
    else:
        raise ValueError(f"cannot count the operations of a {type(layer).__name__} layer")
    return 2 * positions * math.prod(layer.kernel.shape)

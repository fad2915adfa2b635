"""What training a model costs: floating-point operations, parameters and memory, by its layers.

Counted are the dense and the (transposed) convolution layers, in which nearly all the work lies:
two operations, a multiplication and an addition, for each factor of a kernel and each place that it
is laid on, padding included. Activations, sampling, the likelihood and the update are not counted.
"""

import dataclasses
import math
from collections.abc import Iterator

import keras

_FLOAT32_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Costs:
    """What networks cost.

    Attributes:
      parameters: how many numbers are learnt.
      forward_flops: operations of one example's way through all layers.
      activations: numbers that all layers give for one example.
    """

    parameters: int
    forward_flops: int
    activations: int

    @property
    def training_flops(self) -> int:
        """Of one example in one step: forward, and backward to every kernel and every input.

        The first layer needs no gradient of its input; it is counted all the same, as is usual.
        """
        return 3 * self.forward_flops


@dataclasses.dataclass(frozen=True)
class Memory:
    """What a replica holds while it trains, in bytes: an estimate.

    Attributes:
      parameters, gradients, slots, average: float32, of each parameter; slots are the optimizer's,
        average the moving one of the weights.
      activations: kept for the gradients of one micro-batch.
      data: examples held.
    """

    parameters: int
    gradients: int
    slots: int
    average: int
    activations: int
    data: int

    @property
    def total(self) -> int:
        return sum(dataclasses.astuple(self))


def count(*networks: keras.Model) -> Costs:
    """What built networks cost together, such as a VAE's encoder and decoder.

    Raises:
      ValueError: a layer has a kernel that is none of those known here.
    """
    layers = [layer for network in networks for layer in _layers(network)]
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
    """An estimate of what a replica holds.

    Args:
      costs: the model's.
      micro_batch: examples whose gradients the replica computes at once.
      num_slots: numbers that the optimizer keeps for each parameter.
      averages: whether a moving average of the weights is kept.
      data_bytes: of the examples held in memory.
      activation_bytes: of one number that an inner layer gives; 2 in half precision.
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


def _layers(layer: keras.Layer) -> Iterator[keras.Layer]:
    """The innermost layers, inputs apart."""
    if isinstance(layer, keras.Model):
        for inner in layer.layers:
            yield from _layers(inner)
    elif not isinstance(layer, keras.layers.InputLayer):
        yield layer


def _flops(layer: keras.Layer) -> int:
    """Operations of one example's way through a layer."""
    if not hasattr(layer, "kernel"):
        return 0
    if isinstance(layer, keras.layers.Conv2DTranspose):
        # Its kernel is laid on each place of the input, a convolution's on each of the output.
        places = math.prod(layer.input.shape[1:-1])
    elif isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
        places = math.prod(layer.output.shape[1:-1])
    else:
        raise ValueError(f"cannot count the operations of a {type(layer).__name__} layer")
    return 2 * places * math.prod(layer.kernel.shape)

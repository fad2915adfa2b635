"""The causal head pixel by pixel, for a batch of images that become known pixel by pixel.

`CausalHead` computes the outputs of all pixels of a known image at once. A decoder knows only the
pixels before the one in turn, and must compute the same bits as the encoder did. So both go pixel
by pixel, with sums that are exact whatever their order. What depends on the rows above is computed
once per row.
"""

import numpy as np

from components.compression.exact_products import ExactMatrix, rounded
from components.model.heads.causal import RADIUS, CausalHead

# Arrays have the columns first and then the images, so that the neighbors at one distance of all
# pixels of a row are one piece of memory.
_COLUMNS_BESIDE = 1  # That a masked layer sees on either side.


class CausalWeights:
    """The weights of a causal head, for exact products.

    Args:
      head: the head.
      activation: the name of its activation function.
    """

    def __init__(self, head: CausalHead, activation: str):
        # Such as head/context/above.
        weights = {"/".join(v.path.split("/")[-2:]): v.numpy() for v in head.weights}
        self.channels = head.settings.channels
        self.features = head.settings.features
        self.outputs = head.settings.outputs
        self.activation = ACTIVATIONS[activation]
        # Both convolutions over pixels, side by side.
        above = np.concatenate([weights["context/above"], weights["linear/above"]], axis=-1)
        left = np.concatenate([weights["context/left"], weights["linear/left"]], axis=-1)
        self.above = ExactMatrix(above.reshape(-1, above.shape[-1]))
        self.left = ExactMatrix(left.reshape(-1, left.shape[-1]))
        self.layers = [
            _MaskedWeights(weights[f"masked_{number}/kernel"], weights[f"masked_{number}/bias"])
            for number in range(head.settings.layers)
        ]
        self.pointwise = ExactMatrix(weights["pointwise/kernel"])
        self.pointwise_bias = weights["pointwise/bias"].astype(np.float64)
        self.last = ExactMatrix(weights["outputs/kernel"])
        self.last_bias = weights["outputs/bias"].astype(np.float64)


class _MaskedWeights:
    """The kernel [2, 3, features, features] of a masked layer, in its five parts."""

    def __init__(self, kernel: np.ndarray, bias: np.ndarray):
        self.above = [ExactMatrix(kernel[0, column]) for column in range(3)]
        self.left, self.own = ExactMatrix(kernel[1, 0]), ExactMatrix(kernel[1, 1])
        self.bias = bias.astype(np.float64)


class CausalSteps:
    """The outputs at the pixels of N images, in order.

    For each pixel, `outputs` comes first, and then `set`.

    Args:
      weights: of the head.
      features: of the decoder, shape [N, height, width, features].
    """

    def __init__(self, weights: CausalWeights, features: np.ndarray):
        count, height, width, _ = features.shape
        self._weights = weights
        self._features = features
        self._width = width
        # Beyond the edges of an image pixels count as 0, between the intensities -1 and 1.
        columns = width + 2 * RADIUS
        self._pixels = np.zeros((height + RADIUS, weights.channels, columns, count))
        shape = (width + 2 * _COLUMNS_BESIDE, count, weights.features)
        self._above = [np.zeros(shape) for _ in weights.layers]
        self._current = [np.zeros(shape) for _ in weights.layers]

    def outputs(self, row: int, column: int) -> np.ndarray:
        """The outputs at a pixel given the pixels before it, float64 [N, outputs]."""
        if not column:
            self._start_row(row)
        weights, activated = self._weights, self._weights.activation
        left = self._pixels[row + RADIUS, :, column : column + RADIUS]
        # The kernel has the column first and then the channel.
        neighbors = left.transpose(1, 0, 2).reshape(-1, left.shape[-1])
        sums = self._from_above[column] + weights.left.product(neighbors.T)
        hidden = sums[:, : weights.features]
        at = column + _COLUMNS_BESIDE
        for layer, current, from_above in zip(
            weights.layers, self._current, self._layers_from_above, strict=True
        ):
            current[at] = rounded(activated(hidden))
            hidden = hidden + from_above[column]
            hidden += layer.left.product(current[at - 1])
            hidden += layer.own.product(current[at])
        pointwise = weights.pointwise.product(rounded(activated(hidden)))
        hidden = hidden + (pointwise + weights.pointwise_bias)
        last = weights.last.product(rounded(activated(hidden)))
        return last + weights.last_bias + sums[:, weights.features :]

    def set(self, row: int, column: int, levels: np.ndarray) -> None:
        """Makes a pixel known: its levels from 0 to 255, int [N, channels]."""
        scaled = 2.0 * levels.T / 255 - 1.0
        self._pixels[row + RADIUS, :, column + RADIUS] = rounded(scaled)

    def _start_row(self, row: int) -> None:
        """Computes what the pixels of a row get from the rows above it."""
        weights = self._weights
        self._above, self._current = self._current, self._above
        for current in self._current:
            current[:] = 0
        above = self._pixels[row : row + RADIUS]
        shape = (self._width, above.shape[-1], -1)
        # The kernel has the row first, then the column, then the channel.
        neighbors = np.stack(
            [
                above[i, channel, j : j + self._width].reshape(-1)
                for i in range(RADIUS)
                for j in range(2 * RADIUS + 1)
                for channel in range(weights.channels)
            ]
        )
        self._from_above = weights.above.product(neighbors.T).reshape(shape)
        features = self._features[:, row].transpose(1, 0, 2)
        self._from_above[..., : weights.features] += features
        self._layers_from_above = []
        for layer, hidden in zip(weights.layers, self._above, strict=True):
            sums = np.broadcast_to(layer.bias, (self._width, *hidden.shape[1:])).copy()
            for j, kernel in enumerate(layer.above):
                sums += kernel.product(hidden[j : j + self._width])
            self._layers_from_above.append(sums)


def _silu(x: np.ndarray) -> np.ndarray:
    # The exponential of large numbers is infinite, and the result 0, as it should be.
    result = np.exp(-np.maximum(x, -700.0))
    result += 1.0
    return np.divide(x, result, out=result)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


ACTIVATIONS = {"silu": _silu, "relu": _relu}

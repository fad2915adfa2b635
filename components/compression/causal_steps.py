"""Evaluates a causal head pixel by pixel, for a batch of images that are being decoded.

`CausalHead` computes the outputs of all pixels of a known image at once. A decoder knows only the
pixels before the current one, and must compute the same bits as the encoder did. So all sums are
exact, whatever their order. The terms that depend only on the rows above are computed once per row.
"""

import numpy as np

from components.compression.exact_products import ExactMatrix, rounded
from components.model.heads.causal import RADIUS, CausalHead

# Arrays have the columns first and then the images: for all pixels of a row, the neighbors at one
# distance are then contiguous in memory.
_COLUMNS_BESIDE = 1  # Columns that a masked layer sees on either side.


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

    A decoder asks for one pixel after the other, and an encoder for whole rows, which takes half
    the time. Both give the same bits: sums are exact, and all other operations are elementwise.

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

    def outputs(self, row: int, columns: range) -> np.ndarray:
        """The outputs at pixels of a row, float64 [columns, N, outputs].

        Args:
          row: the row. Its first column comes first, and its columns in order.
          columns: its columns, whose left neighbors are known.
        """
        if not columns.start:
            self._start_row(row)
        weights, activated = self._weights, self._weights.activation
        at = slice(columns.start, columns.stop)
        neighbors = self._neighbors(range(row + RADIUS, row + RADIUS + 1), RADIUS, columns)
        sums = self._from_above[at] + weights.left.product(neighbors)
        hidden = sums[..., : weights.features]
        here = slice(at.start + _COLUMNS_BESIDE, at.stop + _COLUMNS_BESIDE)
        for layer, current, from_above in zip(
            weights.layers, self._current, self._layers_from_above, strict=True
        ):
            current[here] = rounded(activated(hidden))
            hidden = hidden + from_above[at]
            hidden += layer.left.product(current[here.start - 1 : here.stop - 1])
            hidden += layer.own.product(current[here])
        pointwise = weights.pointwise.product(rounded(activated(hidden)))
        pointwise += weights.pointwise_bias
        last = weights.last.product(rounded(activated(hidden + pointwise)))
        last += weights.last_bias
        last += sums[..., weights.features :]
        return last

    def set(self, row: int, columns: range, levels: np.ndarray) -> None:
        """Makes pixels known: their levels from 0 to 255, int [columns, N, channels]."""
        scaled = 2.0 * levels.transpose(2, 0, 1) / 255 - 1.0
        at = slice(columns.start + RADIUS, columns.stop + RADIUS)
        self._pixels[row + RADIUS, :, at] = rounded(scaled)

    def _start_row(self, row: int) -> None:
        """Computes the terms of a row that depend on the rows above it."""
        weights, columns = self._weights, range(self._width)
        self._above, self._current = self._current, self._above
        for current in self._current:
            current[:] = 0
        above = self._neighbors(range(row, row + RADIUS), 2 * RADIUS + 1, columns)
        self._from_above = weights.above.product(above)
        self._from_above[..., : weights.features] += self._features[:, row].transpose(1, 0, 2)
        self._layers_from_above = []
        for layer, hidden in zip(weights.layers, self._above, strict=True):
            sums = layer.above[0].product(hidden[: self._width])
            for j, kernel in enumerate(layer.above[1:], start=1):
                sums += kernel.product(hidden[j : j + self._width])
            sums += layer.bias
            self._layers_from_above.append(sums)

    def _neighbors(self, rows: range, width: int, columns: range) -> np.ndarray:
        """Pixels of rows around columns, as the factor of a kernel.

        Args:
          rows: of `_pixels`.
          width: how many pixels of a row, from `RADIUS` columns to the left on.
          columns: the columns.

        Returns:
          Shape [columns, N, rows * width * channels].
        """
        # The kernel has the row first, then the column, then the channel.
        pixels = [
            self._pixels[row, channel, columns.start + j : columns.stop + j]
            for row in rows
            for j in range(width)
            for channel in range(self._weights.channels)
        ]
        return np.stack(pixels).transpose(1, 2, 0)


def _silu(x: np.ndarray) -> np.ndarray:
    # x σ(x) = x (1 + tanh(x / 2)) / 2, which does not overflow.
    result = np.tanh(0.5 * x)
    result += 1.0
    result *= x
    result *= 0.5
    return result


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


ACTIVATIONS = {"silu": _silu, "relu": _relu}

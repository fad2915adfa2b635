"""Transposed convolutions, fast ones to a single channel included."""

import collections
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def transposed_convolution(
    filters: int, kernel: int, strides: int, **options: Any
) -> keras.layers.Conv2DTranspose:
    """A transposed convolution with "same" padding, a layer of Keras.

    Args:
      filters: number of channels of its output.
      kernel: height and width of its kernel, in pixels; at least `strides`.
      strides: factor by which it enlarges height and width.
      **options: other arguments of the layer.
    """
    layer = Conv2DTranspose if filters == 1 else keras.layers.Conv2DTranspose
    return layer(filters, kernel, strides, "same", **options)


class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras's layer for one output channel and "same" padding, computed faster on the CPU.

    The CPU's convolutions compute 16 output channels at once, so that a single one wastes most of
    their work. Here, one matrix product takes every pixel of the input to the pixels of the output
    that it reaches, one for each element of the kernel, and their overlaps are added.
    """

    # With it and the class's name, Keras writes its own layer into a file: a saved decoder loads
    # without this project.
    __module__ = keras.layers.__name__

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps [batch, height, width, channels] to [batch, strides * height, ..., 1]."""
        height, width, channels = inputs.shape[1:]
        side = self.kernel_size[0]
        shares = tf.matmul(
            tf.reshape(self.kernel, [side * side, channels]),
            tf.reshape(inputs, [-1, channels]),
            transpose_b=True,
        )
        shares = tf.reshape(shares, [side, side, -1, height, width])
        outputs = _sum_of_shares(shares, self.strides[0])[..., tf.newaxis]
        return self.activation(outputs + self.bias)


def _sum_of_shares(shares: tf.Tensor, stride: int) -> tf.Tensor:
    """The output, given what each element of the kernel takes to it.

    Element (i, j) of the kernel takes the input at (y, x) to the output at
    (stride * y + i - before, stride * x + j - before).

    Args:
      shares: shape [kernel, kernel, batch, height, width].
      stride: number of pixels of the output per pixel of the input, in each direction.

    Returns:
      Shape [batch, stride * height, stride * width].
    """
    side = shares.shape[0]

    @tf.custom_gradient
    def add(shares: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return _add(shares, stride), lambda gradient: _shares_of(gradient, side, stride)

    return add(shares)


def _add(shares: tf.Tensor, stride: int) -> tf.Tensor:
    side, _, _, height, width = shares.shape
    # For each row or column of the kernel: the shift of the input, and its place within the blocks
    # of stride x stride pixels of the output.
    places = [divmod(i - _before(side, stride), stride) for i in range(side)]
    margin = max(abs(shift) for shift, _ in places)
    padded = tf.pad(shares, [[0, 0]] * 3 + [[margin, margin]] * 2)
    blocks: dict[tuple[int, int], tf.Tensor] = collections.defaultdict(int)
    for i, (down, row) in enumerate(places):
        for j, (right, column) in enumerate(places):
            top, left = margin - down, margin - right
            blocks[row, column] += padded[i, j, :, top : top + height, left : left + width]
    rows = [
        tf.stack([blocks[row, column] for column in range(stride)], -1) for row in range(stride)
    ]
    return tf.reshape(tf.stack(rows, 2), [-1, stride * height, stride * width])


# Compiled, since it only copies: otherwise every slice is written twice.
@tf.function(autograph=False, jit_compile=True)
def _shares_of(gradient: tf.Tensor, side: int, stride: int) -> tf.Tensor:
    """The gradient with respect to the shares, given that of their sum."""
    _, height, width = gradient.shape
    before = _before(side, stride)
    after = side - stride - before
    padded = tf.pad(gradient, [[0, 0], [before, after], [before, after]])
    return tf.stack(
        [
            tf.stack(
                [padded[:, i : i + height : stride, j : j + width : stride] for j in range(side)]
            )
            for i in range(side)
        ]
    )


def _before(side: int, stride: int) -> int:
    """Rows that "same" padding cuts off before the first row of the output."""
    return (side - stride) // 2

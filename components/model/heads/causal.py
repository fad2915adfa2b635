"""The causal head: each pixel sees the pixels above it and to its left, near it.

Rows are decoded from the top, and each row from the left, as in a PixelCNN (van den Oord et al.,
2016). A convolution over decoded neighbors is added to the decoder's features; masked residual
layers follow, over both together, then a residual 1 x 1 layer. The latents carry the image's
structure and the neighbors its texture, so the context is kept small: otherwise, the decoder could
ignore the latents.
"""

import keras
import tensorflow as tf

from components.model.heads.head import Head, HeadSettings
from components.model.likelihoods.likelihood import Family

# The neighbors of a pixel: this many rows above it, and columns to either side.
RADIUS = 4


class CausalHead(Head):
    """A head in which a pixel depends on 40 decoded neighbors, and through layers on a few more."""

    def __init__(self, settings: HeadSettings):
        super().__init__(settings)
        features, dtype = settings.features, settings.dtype
        # Direct neighbors, in float32: a linear term of the outputs, such as of the means.
        self._linear = _Neighbors(
            settings.channels, settings.outputs, RADIUS, dtype="float32", name="linear"
        )
        self._context = _Neighbors(settings.channels, features, RADIUS, dtype=dtype, name="context")
        self._masked = [
            _MaskedConv(features, dtype=dtype, name=f"masked_{number}")
            for number in range(settings.layers)
        ]
        self._pointwise = _dense(features, features, dtype=dtype, name="pointwise")
        self._outputs = _dense(features, settings.outputs, dtype="float32", name="outputs")
        self._activation = keras.activations.get(settings.activation)
        self._reach = RADIUS + settings.layers

    def call(self, features: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        return self._all_outputs(features, _scaled(x), inside=None)

    def turns(self, height: int, width: int) -> int:
        return height * width

    def sample(
        self, features: tf.Tensor, uniforms: tf.Tensor, family: Family
    ) -> tuple[tf.Tensor, tf.Tensor]:
        _, height, width, _ = features.shape
        channels, reach = self.settings.channels, self._reach
        batch = tf.shape(features)[0]
        # A pixel's outputs depend on a window above it and to its left. Beyond the image's edge,
        # features and pixels count as 0, as in the padding of a convolution.
        padding = [[0, 0], [reach, 0], [reach, reach], [0, 0]]
        features = tf.pad(features, padding)
        inside = tf.pad(tf.ones([1, height, width, 1], features.dtype), padding)
        columns = width + 2 * reach
        # Pixels by position, so that one can be set without copying the others.
        drawn = tf.zeros([(height + reach) * columns, batch, channels])
        means = tf.TensorArray(tf.float32, height * width, element_shape=[None, channels])
        samples = tf.TensorArray(tf.float32, height * width, element_shape=[None, channels])

        def body(index, drawn, samples, means):
            row, column = index // width, index % width
            window = [reach + 1, 2 * reach + 1]
            start = [0, row, column, 0]
            grid = tf.reshape(drawn, [height + reach, columns, batch, channels])
            x = tf.slice(grid, [row, column, 0, 0], [*window, -1, -1])
            outputs = self._all_outputs(
                tf.slice(features, start, [-1, *window, -1]),
                tf.transpose(x, [2, 0, 1, 3]),
                inside=tf.slice(inside, start, [-1, *window, -1]),
            )[:, reach : reach + 1, reach : reach + 1]
            distribution = family.distribution(outputs)
            numbers = uniforms[:, row, column][:, tf.newaxis, tf.newaxis]
            pixel = distribution.sample(numbers)[:, 0, 0]
            position = (row + reach) * columns + column + reach
            drawn = tf.tensor_scatter_nd_update(drawn, [[position]], _scaled(pixel)[tf.newaxis])
            mean = distribution.mean()[:, 0, 0]
            return index + 1, drawn, samples.write(index, pixel), means.write(index, mean)

        _, _, samples, means = tf.while_loop(
            lambda index, *_: index < height * width,
            body,
            (0, drawn, samples, means),
            parallel_iterations=1,
        )

        def image(pixels: tf.TensorArray) -> tf.Tensor:
            stacked = tf.reshape(pixels.stack(), [height, width, batch, channels])
            return tf.transpose(stacked, [2, 0, 1, 3])

        return image(samples), image(means)

    def _all_outputs(self, features: tf.Tensor, x: tf.Tensor, *, inside: tf.Tensor | None):
        """The outputs at every pixel of an image or of a window of one.

        Args:
          features: [batch, rows, columns, features].
          x: pixels between -1 and 1, 0 beyond the image; [batch, rows, columns, channels].
          inside: 1 within the image and 0 beyond it, [1, rows, columns, 1]; None for an image.
        """

        def activated(hidden: tf.Tensor) -> tf.Tensor:
            hidden = self._activation(hidden)
            return hidden if inside is None else hidden * inside

        context = self._context(x)
        hidden = tf.cast(features, context.dtype) + context
        for layer in self._masked:
            hidden = hidden + layer(activated(hidden))
        hidden = hidden + self._pointwise(activated(hidden))
        return self._outputs(activated(hidden)) + self._linear(x)


def _scaled(x: tf.Tensor) -> tf.Tensor:
    """Intensities between -1 and 1, so that 0 stands for a neighbor beyond the image's edge."""
    return 2.0 * x - 1.0


def _dense(inputs: int, outputs: int, *, dtype: str, name: str) -> keras.layers.Dense:
    layer = keras.layers.Dense(outputs, kernel_initializer="lecun_normal", dtype=dtype, name=name)
    layer.build((None, inputs))
    return layer


class _Neighbors(keras.layers.Layer):
    """A convolution over the neighbors above a pixel and to its left.

    Args:
      inputs: number of input channels.
      outputs: number of output channels.
      radius: rows above the pixel, and columns to either side.
      dtype: Keras dtype policy.
      name: name of the layer.
    """

    def __init__(self, inputs: int, outputs: int, radius: int, *, dtype: str, name: str):
        super().__init__(dtype=dtype, name=name)
        self._radius = radius
        # One kernel for the rows above and one for the pixel's own row. A single kernel with a mask
        # would do a ninth more work.
        count = radius * (2 * radius + 1) + radius
        initializer = keras.initializers.RandomNormal(stddev=(count * inputs) ** -0.5)
        self._above = self.add_weight(
            shape=(radius, 2 * radius + 1, inputs, outputs), initializer=initializer, name="above"
        )
        self._left = self.add_weight(
            shape=(1, radius, inputs, outputs), initializer=initializer, name="left"
        )
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # The last row has no pixels below it, and the last column none to its right.
        radius = self._radius
        above = [[0, 0], [radius, 0], [radius, radius], [0, 0]]
        left = [[0, 0], [0, 0], [radius, 0], [0, 0]]
        return _conv(x[:, :-1], self._above, above) + _conv(x[:, :, :-1], self._left, left)


class _MaskedConv(keras.layers.Layer):
    """A 2 x 3 convolution over the row above a pixel, its left neighbor and the pixel itself."""

    def __init__(self, features: int, *, dtype: str, name: str):
        super().__init__(dtype=dtype, name=name)
        self._kernel = self.add_weight(
            shape=(2, 3, features, features),
            initializer=keras.initializers.RandomNormal(stddev=(5 * features) ** -0.5),
            name="kernel",
        )
        self._bias = self.add_weight(shape=(features,), initializer="zeros", name="bias")
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # The neighbor to the right is not decoded yet.
        mask = tf.reshape(tf.constant([1, 1, 1, 1, 1, 0], x.dtype), [2, 3, 1, 1])
        kernel = tf.convert_to_tensor(self._kernel) * mask
        padding = [[0, 0], [1, 0], [1, 1], [0, 0]]
        return _conv(x, kernel, padding) + tf.convert_to_tensor(self._bias)


def _conv(x: tf.Tensor, kernel, padding: list[list[int]]) -> tf.Tensor:
    padded, kernel = tf.pad(x, padding), tf.convert_to_tensor(kernel)
    return tf.nn.conv2d(padded, kernel, strides=1, padding="VALID")

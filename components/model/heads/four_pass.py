"""The four-pass head: a quarter of the pixels at a time, each quarter given those before it.

Each 2 x 2 square of pixels is decoded in four passes, one pixel each, and all squares at once. The
first pass sees the latents alone, the last one three quarters of the image. So an image is sampled
in four steps instead of one per pixel (compare Reed et al., 2017).
"""

import keras
import tensorflow as tf

from components.model.heads.head import Head, HeadSettings, Parameters, draw_pixels

# The place of each pass in a square, row by row. The diagonal first: the second pixel is far from
# the first, and the last two have neighbors on all four sides.
PASSES = (0, 3, 1, 2)


class FourPassHead(Head):
    """A head that decodes the four pixels of every 2 x 2 square one after the other."""

    def __init__(self, settings: HeadSettings):
        super().__init__(settings)
        self._passes = [
            _Pass(settings, known=number * settings.channels, name=f"pass_{number}")
            for number in range(len(PASSES))
        ]

    def call(self, features: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        height, width = features.shape[1:3]
        quarters, features = self._quarters(x), self._squares(features)
        outputs = [layer(features, quarters[:number]) for number, layer in enumerate(self._passes)]
        return self._image(outputs, height, width)

    def turns(self, height: int, width: int) -> int:
        del height, width
        return len(PASSES)

    def sample(
        self, features: tf.Tensor, uniforms: tf.Tensor, parameters: Parameters
    ) -> tuple[tf.Tensor, tf.Tensor]:
        height, width = features.shape[1:3]
        numbers, features = self._quarters(uniforms), self._squares(features)
        within = self._quarters(tf.ones([1, height, width, 1]))
        drawn: list[tf.Tensor] = []
        means: list[tf.Tensor] = []
        for layer, quarter, inside in zip(self._passes, numbers, within, strict=True):
            distribution = parameters(layer(features, drawn))
            # Beyond the edge of an image with an odd side, pixels are 0, as in `call`.
            drawn.append(draw_pixels(distribution, quarter) * inside)
            means.append(distribution.mean())
        return self._image(drawn, height, width), self._image(means, height, width)

    def _squares(self, image: tf.Tensor) -> tf.Tensor:
        """[batch, height, width, c] -> [batch, height / 2, width / 2, 4 c], padded if odd."""
        height, width = image.shape[1:3]
        odd = [[0, 0], [0, height % 2], [0, width % 2], [0, 0]]
        return tf.nn.space_to_depth(tf.pad(image, odd), 2)

    def _quarters(self, image: tf.Tensor) -> list[tf.Tensor]:
        """The pixels of each pass, each [batch, height / 2, width / 2, c]."""
        parts = tf.split(self._squares(image), len(PASSES), axis=-1)
        return [parts[place] for place in PASSES]

    def _image(self, quarters: list[tf.Tensor], height: int, width: int) -> tf.Tensor:
        """The inverse of `_quarters`."""
        parts = [quarters[PASSES.index(place)] for place in range(len(PASSES))]
        squares = tf.concat(parts, axis=-1)
        assembled = tf.nn.depth_to_space(squares, 2)
        return assembled[:, :height, :width]


class _Pass(keras.layers.Layer):
    """The layers of one pass: features and the pixels of earlier passes to outputs.

    Args:
      settings: of the head.
      known: number of values that earlier passes have drawn in each square.
      name: name of the layer.
    """

    def __init__(self, settings: HeadSettings, *, known: int, name: str):
        super().__init__(dtype="float32", autocast=False, name=name)
        features, dtype = settings.features, settings.dtype
        self._features = _conv(4 * features, features, 1, dtype)
        # In float32 too: a linear term of the outputs, such as of the means.
        self._linear = _conv(known, settings.outputs, 3, "float32") if known else None
        self._context = _conv(known, features, 3, dtype) if known else None
        self._hidden = [_conv(features, features, 3, dtype) for _ in range(settings.layers)]
        self._pointwise = _conv(features, features, 1, dtype)
        self._outputs = _conv(features, settings.outputs, 1, "float32")
        self._activation = keras.activations.get(settings.activation)
        self.built = True

    def call(self, features: tf.Tensor, known: list[tf.Tensor]) -> tf.Tensor:
        hidden = self._features(features)
        x = 2.0 * tf.concat(known, axis=-1) - 1.0 if known else None
        if self._context is not None:
            hidden = hidden + self._context(x)
        for layer in (*self._hidden, self._pointwise):
            hidden = hidden + layer(self._activation(hidden))
        outputs = self._outputs(self._activation(hidden))
        return outputs if self._linear is None else outputs + self._linear(x)


def _conv(inputs: int, outputs: int, kernel: int, dtype: str) -> keras.layers.Conv2D:
    layer = keras.layers.Conv2D(
        outputs, kernel, padding="same", kernel_initializer="lecun_normal", dtype=dtype
    )
    layer.build((None, None, None, inputs))
    return layer

"""A network architecture: two functions that build an encoder and a decoder.

An encoder maps images to the posterior's parameters, a decoder maps latents to what the head needs
at every pixel. Their layers are layers of Keras. An encoder or decoder that is built with the name
of an activation function can therefore be saved and loaded without this project. The VAE builds
them with a function of this project where Keras's own is slow, and saves only their weights.
"""

import dataclasses
from collections.abc import Callable

import keras

from components.base.arithmetic import ceil_div
from components.base.shapes import Shape
from components.model.activations import Activation


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """The settings of an encoder and a decoder.

    Attributes:
      image_shape: (height, width, channels) of the images.
      latents: number of latent dimensions.
      widths: layer widths in the encoder's order; a decoder reverses them.
      outputs: number of the decoder's outputs at every pixel.
      head_reads_features: whether the outputs are features, for a head that computes the
        likelihood's parameters of them. Otherwise they are these parameters, in float32.
      activation: activation function of the inner layers, or its name in Keras.
      encoder_blocks: number of residual blocks of the encoder at its lowest resolution.
      decoder_blocks: number of residual blocks of the decoder at every resolution.
      features: channels of the decoder at full resolution; only `residual` has such features.
      dtype: Keras dtype policy of the inner layers. The encoder's last layer always computes in
        float32, since it gives means and log-variances.
    """

    image_shape: Shape
    latents: int
    widths: tuple[int, ...]
    outputs: int
    head_reads_features: bool = False
    activation: str | Activation = "relu"
    encoder_blocks: int = 0
    decoder_blocks: int = 1
    features: int = 32
    dtype: str = "float32"

    @property
    def output_dtype(self) -> str:
        """Keras dtype policy of the decoder's last layer."""
        return self.dtype if self.head_reads_features else "float32"


@dataclasses.dataclass(frozen=True)
class Network:
    """One architecture of encoder and decoder.

    Attributes:
      encoder: builds [batch, height, width, channels] -> [batch, 2 * latents], the means followed
        by the log-variances.
      decoder: builds [batch, latents] -> [batch, height, width, outputs].
      is_convolutional: whether the network contains convolutions.
    """

    encoder: Callable[[NetworkSettings], keras.Model]
    decoder: Callable[[NetworkSettings], keras.Model]
    is_convolutional: bool


def grid(
    image_shape: Shape, num_strides: int
) -> tuple[tuple[int, int], tuple[tuple[int, int], ...]]:
    """The grid (height, width) that a decoder starts from, and the cropping of its output.

    `num_strides` layers double the grid's height and width. The grid is the smallest that covers
    the image, and the excess rows and columns are cropped, so images may have any size.
    """
    # Each of the encoder's strides halves its input and rounds up, which gives the same grid.
    stride = 2**num_strides
    height, width = (ceil_div(side, stride) for side in image_shape[:2])
    cropping = (0, height * stride - image_shape[0]), (0, width * stride - image_shape[1])
    return (height, width), cropping

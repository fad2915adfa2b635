"""The residual network: residual blocks of convolutions, and space-to-depth between them.

The encoder moves 2 x 2 pixels into channels (space-to-depth) in place of a large strided kernel,
and the decoder moves channels back into pixels (depth-to-space; Shi et al., 2016), so nearly all
of the work is done by 3 x 3 convolutions with many channels, which run fastest. There is no
normalization layer: initial weights of the standard deviation 1/√fan-in keep the scale of values.
"""

import math

import keras

from components.model.networks.network import Network, NetworkSettings, grid

# Channels at the lowest resolution are reduced by this factor before the dense layer, which would
# otherwise hold most of the weights.
_BOTTLENECK = 4


def residual_encoder(settings: NetworkSettings) -> keras.Model:
    """Convolutions down to the lowest resolution, residual blocks there, and a dense layer.

    Args:
      settings: its widths are the channels at each resolution from half the image's downwards, then
        the width of the dense layer.
    """
    *channels, dense = settings.widths
    dtype, activation = settings.dtype, settings.activation
    inputs = keras.Input(settings.image_shape)
    hidden = downward_features(inputs, settings)[-1]
    hidden = keras.layers.Activation(activation, dtype=dtype)(hidden)
    hidden = convolution(max(1, channels[-1] // _BOTTLENECK), 1, dtype)(hidden)
    hidden = keras.layers.Flatten(dtype=dtype)(hidden)
    hidden = keras.layers.Activation(activation, dtype=dtype)(hidden)
    hidden = keras.layers.Dense(dense, activation, kernel_initializer="lecun_normal", dtype=dtype)(
        hidden
    )
    outputs = keras.layers.Dense(
        2 * settings.latents, kernel_initializer="lecun_normal", dtype="float32"
    )(hidden)
    return keras.Model(inputs, outputs, name="encoder")


def residual_decoder(settings: NetworkSettings) -> keras.Model:
    """Dense layers up to the lowest resolution, then residual blocks at each resolution."""
    *channels, dense = settings.widths
    size, _ = grid(settings.image_shape, len(channels))
    dtype = settings.dtype
    inputs = keras.Input((settings.latents,))
    bottleneck = max(1, channels[-1] // _BOTTLENECK)
    hidden = keras.layers.Dense(
        dense, settings.activation, kernel_initializer="lecun_normal", dtype=dtype
    )(inputs)
    hidden = keras.layers.Dense(
        math.prod(size) * bottleneck,
        settings.activation,
        kernel_initializer="lecun_normal",
        dtype=dtype,
    )(hidden)
    hidden = keras.layers.Reshape((*size, bottleneck), dtype=dtype)(hidden)
    hidden = convolution(channels[-1], 1, dtype)(hidden)
    for number in reversed(channels[:-1]):
        hidden = upsampled(_residual_blocks(hidden, settings), number, settings)
    hidden = _residual_blocks(hidden, settings)
    return keras.Model(inputs, to_features(hidden, settings), name="decoder")


def downward_features(
    inputs: keras.KerasTensor, settings: NetworkSettings
) -> list[keras.KerasTensor]:
    """The encoder's feature maps at each resolution, from half the image's downwards."""
    channels = settings.widths[:-1]
    _, padding = grid(settings.image_shape, len(channels))
    dtype = settings.dtype
    # Intensities between -1 and 1.
    hidden = keras.layers.Rescaling(2.0, -1.0, dtype=dtype)(inputs)
    if any(map(any, padding)):
        hidden = keras.layers.ZeroPadding2D(padding, dtype=dtype)(hidden)
    hidden = _space_to_depth(hidden, dtype)
    maps = [convolution(channels[0], 3, dtype)(hidden)]
    for number in channels[1:]:
        hidden = keras.layers.Activation(settings.activation, dtype=dtype)(maps[-1])
        maps.append(convolution(number, 3, dtype, strides=2)(hidden))
    for _ in range(settings.encoder_blocks):
        maps[-1] = residual_block(maps[-1], settings)
    return maps


def upsampled(
    inputs: keras.KerasTensor, channels: int, settings: NetworkSettings
) -> keras.KerasTensor:
    """[h, w, c] -> [2 h, 2 w, channels]: a 1 x 1 convolution, then depth to space."""
    hidden = convolution(4 * channels, 1, settings.dtype)(inputs)
    return _depth_to_space(hidden, settings.dtype)


def to_features(inputs: keras.KerasTensor, settings: NetworkSettings) -> keras.KerasTensor:
    """From half the image's resolution to the decoder's features or outputs at its own.

    A head that computes the outputs itself reads the features. Otherwise a last 1 x 1 convolution
    maps them to the outputs.
    """
    _, cropping = grid(settings.image_shape, len(settings.widths) - 1)
    hidden = upsampled(inputs, settings.features, settings)
    if any(map(any, cropping)):
        hidden = keras.layers.Cropping2D(cropping, dtype=settings.dtype)(hidden)
    if settings.head_reads_features:
        return hidden
    hidden = keras.layers.Activation(settings.activation, dtype=settings.dtype)(hidden)
    return convolution(settings.outputs, 1, "float32")(hidden)


def _residual_blocks(inputs: keras.KerasTensor, settings: NetworkSettings) -> keras.KerasTensor:
    for _ in range(settings.decoder_blocks):
        inputs = residual_block(inputs, settings)
    return inputs


def residual_block(inputs: keras.KerasTensor, settings: NetworkSettings) -> keras.KerasTensor:
    """x + conv(f(conv(f(x)))), with the activation function f (He et al., 2016)."""
    dtype, activation = settings.dtype, settings.activation
    hidden = inputs
    for _ in range(2):
        hidden = keras.layers.Activation(activation, dtype=dtype)(hidden)
        hidden = convolution(inputs.shape[-1], 3, dtype)(hidden)
    return keras.layers.Add(dtype=dtype)([inputs, hidden])


def convolution(channels: int, kernel: int, dtype: str, *, strides: int = 1) -> keras.layers.Conv2D:
    """A convolution whose initial weights have the standard deviation 1/√fan-in."""
    return keras.layers.Conv2D(
        channels, kernel, strides, "same", kernel_initializer="lecun_normal", dtype=dtype
    )


def _space_to_depth(inputs: keras.KerasTensor, dtype: str) -> keras.KerasTensor:
    """Moves each 2 x 2 square into channels: [h, w, c] -> [h / 2, w / 2, 4 c]."""
    height, width, channels = inputs.shape[1:]
    split = (height // 2, 2, width // 2, 2, channels)
    hidden = keras.layers.Reshape(split, dtype=dtype)(inputs)
    hidden = keras.layers.Permute((1, 3, 2, 4, 5), dtype=dtype)(hidden)
    return keras.layers.Reshape((height // 2, width // 2, 4 * channels), dtype=dtype)(hidden)


def _depth_to_space(inputs: keras.KerasTensor, dtype: str) -> keras.KerasTensor:
    """The inverse of `_space_to_depth`: [h, w, 4 c] -> [2 h, 2 w, c]."""
    height, width, channels = inputs.shape[1:]
    split = (height, width, 2, 2, channels // 4)
    hidden = keras.layers.Reshape(split, dtype=dtype)(inputs)
    hidden = keras.layers.Permute((1, 3, 2, 4, 5), dtype=dtype)(hidden)
    return keras.layers.Reshape((2 * height, 2 * width, channels // 4), dtype=dtype)(hidden)


RESIDUAL = Network(residual_encoder, residual_decoder, is_convolutional=True)

"""Encoded images to pixels, as operations of TensorFlow that a SavedModel can hold.

The conversion is that of the prepare stage (`components.ingest.convert`): transparency, channels,
then size. The filters of Pillow and TensorFlow round differently, so a pixel of an image that is
resized can differ by a level or two.
"""

import tensorflow as tf

from components.base.shapes import Shape

# A number for each axis, (height, width).
Axes = tuple[float | tf.Tensor, float | tf.Tensor]

# The offset of the bit depth in a PNG, which the color type follows; and that of a palette.
_PNG_TYPE, _PALETTE = 24, 3

# The luma of ITU-R 601 in units of 2^-16, as Pillow computes it.
_LUMA = (19595, 38470, 7471)


def decode_images(encoded: tf.Tensor, shape: Shape, *, background: int) -> tf.Tensor:
    """Decodes PNG and JPEG files of any size, with or without colors and transparency.

    Unlike the prepare stage, it does not turn an image as its EXIF orientation says.

    Args:
      encoded: contents of the files, strings of shape [batch].
      shape: (height, width, 1 or 3) of the result.
      background: intensity that transparent pixels are blended with, 0 to 255.

    Returns:
      uint8, shape [batch, *shape].
    """
    return tf.map_fn(
        lambda file: _resized(_in_channels(_decoded(file), shape[2], background), shape),
        encoded,
        fn_output_signature=tf.TensorSpec(shape, tf.uint8),
    )


def _decoded(file: tf.Tensor) -> tf.Tensor:
    """The pixels of a file, uint8 [height, width, channels]; the last of 4 channels is alpha."""
    pixels = tf.cond(
        tf.io.is_jpeg(file),
        lambda: tf.io.decode_jpeg(file, dct_method="INTEGER_ACCURATE"),
        lambda: _decoded_png(file),
    )
    pixels.set_shape([None, None, None])
    return pixels


def _decoded_png(file: tf.Tensor) -> tf.Tensor:
    """The pixels of a PNG, uint8 [height, width, 3 or 4].

    Unless a file has a palette, TensorFlow makes its transparent color (the chunk tRNS) transparent
    only if an alpha channel is requested.
    """
    padded = tf.strings.join([file, bytes(_PNG_TYPE + 2)])
    depth, kind = tf.unstack(tf.io.decode_raw(tf.strings.substr(padded, _PNG_TYPE, 2), tf.uint8), 2)

    def with_alpha() -> tf.Tensor:
        pixels = tf.io.decode_png(file, channels=4)
        color, alpha = pixels[..., :3], pixels[..., 3:]
        # If no color of a gray file is transparent, alpha is the largest value of its bit depth.
        is_opaque = (depth < 8) & (alpha > 0)
        return tf.concat([color, tf.where(is_opaque, tf.constant(255, tf.uint8), alpha)], axis=-1)

    return tf.cond(kind == _PALETTE, lambda: tf.io.decode_png(file), with_alpha)


def _in_channels(pixels: tf.Tensor, channels: int, background: int) -> tf.Tensor:
    """Opaque pixels of 1 or 3 channels, float32 with whole numbers."""
    values = tf.cast(pixels, tf.int32)
    found = tf.shape(values)[-1]
    num_alpha = found // 4
    color, alpha = values[..., : found - num_alpha], values[..., found - num_alpha :]
    # Opaque pixels have no alpha channel: the sum over no channels, plus 255.
    alpha = tf.reduce_sum(alpha, axis=-1, keepdims=True) + 255 * (1 - num_alpha)
    # The product with ones makes three channels of one.
    color = (color * alpha + background * (255 - alpha) + 127) // 255 * tf.ones([1, 1, 3], tf.int32)
    if channels == 1:
        luma = tf.reduce_sum(color * tf.constant(_LUMA), axis=-1, keepdims=True)
        color = (luma + (1 << 15)) // (1 << 16)
    return tf.cast(color, tf.float32)


def _resized(pixels: tf.Tensor, shape: Shape) -> tf.Tensor:
    """Scales until the image covers the size, and crops both ends equally; uint8 of `shape`."""
    target = tf.constant(shape[:2], tf.float32)
    size = tf.cast(tf.shape(pixels)[:2], tf.float32)
    scale = tf.reduce_max(target / size)
    start = (target - size * scale) / 2
    # Pillow scales the width first, and rounds to bytes before it scales the height. At a sharp
    # edge the filter overshoots the range of bytes, so the place of the clipping matters.
    wide = _scaled(pixels, (tf.shape(pixels)[0], shape[1]), (1.0, scale), (0.0, start[1]))
    resized = _scaled(wide, shape[:2], (scale, 1.0), (start[0], 0.0))
    return tf.ensure_shape(tf.cast(resized, tf.uint8), shape)


def _scaled(pixels: tf.Tensor, size: Axes, scale: Axes, start: Axes) -> tf.Tensor:
    """Scales an image, [height, width, channels], to float32 with whole numbers from 0 to 255.

    Args:
      pixels: the image.
      size: (height, width) of the result.
      scale: the factors of the height and of the width.
      start: position of the image's top left corner in the result, in pixels.
    """
    scaled = tf.raw_ops.ScaleAndTranslate(
        images=pixels[tf.newaxis],
        size=tf.stack(size),
        scale=tf.stack(scale),
        translation=tf.stack(start),
        kernel_type="lanczos3",
        antialias=True,
    )
    return tf.round(tf.clip_by_value(scaled[0], 0, 255))

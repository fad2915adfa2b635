"""Encoded images to pixels, as operations of TensorFlow that a SavedModel can hold.

The conversion is that of the prepare stage (`components.ingest.convert`): transparency, channels,
then size. Pillow rounds after each of the two passes of its filter and TensorFlow at the end, so a
pixel of an image that is resized can differ by a level or two.
"""

import tensorflow as tf

from components.base.shapes import Shape

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
    """The pixels of a file, uint8 [height, width, 1 to 4]; 2 and 4 channels have an alpha."""
    pixels = tf.cond(
        tf.io.is_jpeg(file),
        lambda: tf.io.decode_jpeg(file, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(file),
    )
    pixels.set_shape([None, None, None])
    return pixels


def _in_channels(pixels: tf.Tensor, channels: int, background: int) -> tf.Tensor:
    """Opaque pixels of 1 or 3 channels, float32 with whole numbers."""
    values = tf.cast(pixels, tf.int32)
    found = tf.shape(values)[-1]
    num_alpha = 1 - found % 2
    color, alpha = values[..., : found - num_alpha], values[..., found - num_alpha :]
    # Opaque pixels have no alpha channel: the sum over none, plus 255.
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
    resized = tf.raw_ops.ScaleAndTranslate(
        images=pixels[tf.newaxis],
        size=tf.constant(shape[:2]),
        scale=tf.fill([2], scale),
        translation=(target - size * scale) / 2,
        kernel_type="lanczos3",
        antialias=True,
    )
    return tf.ensure_shape(tf.cast(tf.round(tf.clip_by_value(resized[0], 0, 255)), tf.uint8), shape)

"""Which pixels the outputs of a head depend on."""

import numpy as np
import tensorflow as tf

from components.model.heads.head import Head, HeadSettings


def dependence(head_class: type[Head], size: tuple[int, int], *, layers: int) -> np.ndarray:
    """The largest derivative of any output at each pixel by any channel of each pixel.

    Args:
      head_class: class of the head; its weights are random.
      size: height and width of the image.
      layers: number of layers of the head.

    Returns:
      Absolute values, shape [height, width, height, width]: outputs, then pixels.
    """
    # The derivative of silu, unlike that of relu, is nowhere 0 over an interval.
    head = head_class(HeadSettings(3, 6, 5, layers, "silu", "float32"))
    rng = np.random.default_rng(1)
    for weight in head.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.3))
    features = tf.constant(rng.normal(size=(1, *size, 5)), tf.float32)
    x = tf.constant(rng.random((1, *size, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = head(features, x)
    jacobian = tape.jacobian(outputs, x)[0, :, :, :, 0]
    # [height, width, outputs, height, width, channels]
    return np.abs(jacobian).max(axis=(2, 5))

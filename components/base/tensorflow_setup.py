"""Importing TensorFlow and Keras without their start-up messages, and with fixed numerics.

The user's Keras settings (KERAS_BACKEND and keras.json) are ignored: models are built for
TensorFlow, with channels last and weights in float32.
"""

import importlib
import logging
import os
import sys


def load() -> None:
    """Imports TensorFlow and Keras, hiding the messages that libraries print at any log level.

    If the import fails, the exception still gives the reason.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras reads it once, when it is imported.
    # C++ libraries write to file descriptor 2 directly, so replacing `sys.stderr` is not enough.
    sys.stderr.flush()
    original = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        tensorflow = importlib.import_module("tensorflow")
        keras = importlib.import_module("keras")
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(null)
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # Otherwise recent GPUs round the factors of float32 products to TF32, with a 10-bit mantissa.
    tensorflow.config.experimental.enable_tensor_float_32_execution(False)

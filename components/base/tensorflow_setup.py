"""Importing TensorFlow and Keras without their start-up messages, and with fixed numerics.

The user's Keras settings (KERAS_BACKEND and keras.json) are ignored: models are built for
TensorFlow, with channels last and weights in float32.
"""

import importlib
import logging
import os

from components.base import console
from components.base.errors import ConfigError


def load() -> None:
    """Imports TensorFlow and Keras, hiding the messages that libraries print at any log level.

    If the import fails, the exception still gives the reason.

    Raises:
      ConfigError: the program that calls this has imported Keras with another backend.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras reads it once, when it is imported.
    with console.hidden_stderr():
        tensorflow = importlib.import_module("tensorflow")
        keras = importlib.import_module("keras")
    if (backend := keras.backend.backend()) != "tensorflow":
        raise ConfigError(
            f"Keras runs on {backend} in this process; set KERAS_BACKEND=tensorflow, or import "
            "this project before Keras"
        )
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # Otherwise recent GPUs round the factors of float32 products to TF32, with a 10-bit mantissa.
    tensorflow.config.experimental.enable_tensor_float_32_execution(False)

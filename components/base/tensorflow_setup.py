"""Importing TensorFlow without its start-up messages, and with the numerics of this project."""

import importlib
import logging
import os
import sys


def load() -> None:
    """Imports TensorFlow, hiding the messages that its libraries print at any log level.

    If the import fails, the exception still gives the reason.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # C++ libraries write to file descriptor 2 directly, so replacing `sys.stderr` is not enough.
    sys.stderr.flush()
    original = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        tensorflow = importlib.import_module("tensorflow")
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(null)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # Otherwise recent GPUs round the factors of float32 products to TF32, with a 10-bit mantissa.
    tensorflow.config.experimental.enable_tensor_float_32_execution(False)

"""Loading TensorFlow quietly, with the numerics that this project relies on."""

import importlib
import logging
import os
import sys


def load() -> None:
    """Imports TensorFlow, without the lines its libraries write whatever the log level.

    An import that fails still raises, with its reason in the exception.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    silent = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        tensorflow = importlib.import_module("tensorflow")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silent)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # float32 means float32: without this, recent GPUs would round its factors to 10 bits.
    tensorflow.config.experimental.enable_tensor_float_32_execution(False)

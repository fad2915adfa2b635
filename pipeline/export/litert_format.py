"""LiteRT (TensorFlow Lite): a signature as the bytes of a file, and the function of such a file."""

import tempfile

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from pipeline.export.self_check import Arrays, Function
from pipeline.export.served_model import ServedModel, Signature


def convert(served: ServedModel, name: str, signature: Signature) -> bytes:
    """The LiteRT file of a signature, which keeps its name and those of inputs and outputs.

    It computes in float32, in LiteRT's own operations, with any batch size.
    """
    # A converter of a function would not keep the names.
    with tempfile.TemporaryDirectory() as directory:
        served.save(directory, {name: signature})
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=[name])
        return converter.convert()


def load(data: bytes) -> Function:
    """The function of a LiteRT file with one signature, run on the CPU."""
    interpreter = Interpreter(model_content=data)
    runner = interpreter.get_signature_runner()

    def call(inputs: Arrays) -> Arrays:
        # The runner's arrays are memory of the interpreter, which its next call overwrites.
        return {name: np.array(value) for name, value in runner(**inputs).items()}

    return call

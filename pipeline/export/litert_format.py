"""LiteRT (TensorFlow Lite); see `portable_file.PortableFormat`."""

import tempfile

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from pipeline.export.self_check import Arrays, Function
from pipeline.export.served_model import ServedModel


def convert(served: ServedModel, name: str) -> bytes:
    """See `PortableFormat.convert`.

    The file computes in float32, in LiteRT's own operations, and its signature keeps its name.
    """
    # The converter for single functions would not keep the names.
    with tempfile.TemporaryDirectory() as directory:
        served.save(directory, {name: served.portable_signatures()[name]})
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=[name])
        return converter.convert()


def load(data: bytes) -> Function:
    """See `PortableFormat.load`."""
    interpreter = Interpreter(model_content=data)
    runner = interpreter.get_signature_runner()

    def call(inputs: Arrays) -> Arrays:
        # The runner's arrays are memory of the interpreter, which its next call overwrites.
        return {name: np.array(value) for name, value in runner(**inputs).items()}

    return call

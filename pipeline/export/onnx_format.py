"""ONNX, and ONNX Runtime; see `portable_file.PortableFormat`."""

from typing import Any

import numpy as np
import onnxruntime
import tf2onnx

from pipeline.export.self_check import Arrays, Function
from pipeline.export.served_model import ServedModel

# The version of the ONNX standard from which on all operations that models use exist.
_OPSET = 18


def convert(served: ServedModel, name: str) -> bytes:
    """See `PortableFormat.convert`."""
    function, inputs = served.portable_signatures()[name].function()
    model, _ = tf2onnx.convert.from_function(
        function,
        input_signature=inputs,
        opset=_OPSET,
        custom_op_handlers={"Expm1": (_expm1, [])},
    )
    return model.SerializeToString()


def load(data: bytes) -> Function:
    """See `PortableFormat.load`."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def call(inputs: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return call


def _expm1(ctx: Any, node: Any, name: str, args: Any) -> Any:
    """e^x - 1, an operation that ONNX lacks, without loss of digits for a small x."""
    del args
    # e^x - 1 = 2 e^(x/2) sinh(x/2)
    half_of_one, two = (
        ctx.make_const(f"{name}_{value}", np.array(value, np.float32)).output[0]
        for value in (0.5, 2.0)
    )
    ctx.remove_node(node.name)
    half = ctx.make_node("Mul", [node.input[0], half_of_one]).output[0]
    parts = [ctx.make_node(kind, [half]).output[0] for kind in ("Exp", "Sinh")]
    product = ctx.make_node("Mul", parts).output[0]
    return ctx.make_node("Mul", [product, two], outputs=node.output, name=node.name)

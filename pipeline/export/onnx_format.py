"""ONNX: a signature as the bytes of a file, and the function that ONNX Runtime makes of them."""

from typing import Any

import numpy as np
import onnxruntime
import tf2onnx

from pipeline.export.self_check import Arrays, Function
from pipeline.export.served_model import Signature

# Of the ONNX standard, from which on all operations that models use exist.
_OPSET = 18


def convert(signature: Signature) -> bytes:
    """The ONNX file of a signature; inputs and outputs keep their names and the batch any size."""
    function, inputs = signature.function()
    model, _ = tf2onnx.convert.from_function(
        function,
        input_signature=inputs,
        opset=_OPSET,
        custom_op_handlers={"Expm1": (_expm1, [])},
    )
    return model.SerializeToString()


def load(data: bytes) -> Function:
    """The function of an ONNX file, run on the CPU."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def call(inputs: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return call


def _expm1(ctx: Any, node: Any, name: str, args: Any) -> Any:
    """e^x - 1 in operations of ONNX, which has none for it, with the digits of a small x."""
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
